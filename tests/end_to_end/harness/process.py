"""Stopping and continuing a process, so that it is really stopped when the call returns."""
import os
import signal

from .waiting import eventually


def state(pid):
    """The letters of /proc/PID/task/*/stat: R, S, D, T, Z, one for each thread."""
    letters = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii", errors="replace") as file:
            letters.append(file.read().rsplit(")", 1)[1].split()[0])
    return "".join(letters)


def freeze(pid):
    """SIGSTOP, until every thread has stopped."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: set(state(pid)) == {"T"}, f"process {pid} to stop")


def thaw(pid):
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)
