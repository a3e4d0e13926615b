"""The socket: a stale one is replaced only when it is provably dead, what is no socket is never unlinked."""
import os
import resource
import signal
import socket
import subprocess
import sys

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S
from harness.wire import Client


def fails_to_start(daemon):
    """Starts it, which must end with a clear line. Returns its log."""
    daemon.spawn()
    assert daemon.process.wait(DEADLINE_S) not in (0, None)
    daemon._log_thread.join(DEADLINE_S)
    daemon.process = None
    log = daemon.log
    assert log.strip(), "it ended without a word"
    assert "Sanitizer" not in log, log
    return log


def test_the_socket_is_removed_at_the_end(make_daemon):
    daemon = make_daemon().start()
    daemon.stop()
    assert not os.path.exists(daemon.socket_path)


def test_a_socket_left_by_a_killed_daemon_is_replaced(make_daemon):
    daemon = make_daemon().start()
    daemon.kill()
    assert os.path.exists(daemon.socket_path)
    daemon.start()
    assert daemon.client().call("ping") == {}


def test_a_second_daemon_on_a_socket_in_use_ends_and_disturbs_nobody(make_daemon):
    first = make_daemon("a").start()
    client = first.client()
    second = make_daemon("b", server={"socket": first.socket_path})
    assert first.socket_path in fails_to_start(second)
    assert client.call("ping") == {}
    assert first.client().call("ping") == {}


def test_a_stopped_daemon_is_not_dead(make_daemon):
    first = make_daemon("a").start()
    client = first.client()
    first.freeze()
    fails_to_start(make_daemon("b", server={"socket": first.socket_path}))
    first.thaw()
    assert client.call("ping") == {}
    assert first.client().call("ping") == {}


def test_a_socket_somebody_else_listens_on_is_left_alone(make_daemon):
    daemon = make_daemon()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(daemon.socket_path)
        other.listen()
        fails_to_start(daemon)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(daemon.socket_path)


def test_a_socket_whose_queue_is_full_is_left_alone(make_daemon):
    daemon = make_daemon()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(daemon.socket_path)
        other.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        for link in waiting:
            link.setblocking(False)
            link.connect_ex(daemon.socket_path)
        inode = os.stat(daemon.socket_path).st_ino
        fails_to_start(daemon)
        assert os.stat(daemon.socket_path).st_ino == inode
        for link in waiting:
            link.close()


@pytest.mark.parametrize("what", ["file", "directory", "link to a file", "dangling link"])
def test_what_is_no_socket_is_never_unlinked(make_daemon, what, place):
    daemon = make_daemon()
    target = os.path.join(place, "precious")
    if what == "directory":
        os.mkdir(daemon.socket_path)
    elif what == "dangling link":
        os.symlink(target, daemon.socket_path)
    else:
        with open(target if what == "link to a file" else daemon.socket_path, "w", encoding="ascii") as file:
            file.write("precious")
        if what == "link to a file":
            os.symlink(target, daemon.socket_path)
    fails_to_start(daemon)
    assert os.path.lexists(daemon.socket_path)
    if "file" in what:
        with open(daemon.socket_path, encoding="ascii") as file:
            assert file.read() == "precious"


def test_a_path_in_a_missing_directory_is_a_clear_line(make_daemon, place):
    assert "nowhere" in fails_to_start(make_daemon(server={"socket": f"{place}/nowhere/x.sock"}))


def test_a_path_too_long_is_a_clear_mistake(make_daemon, place):
    log = fails_to_start(make_daemon(server={"socket": f"{place}/{'x' * 120}"}))
    assert "socket" in log and "107" in log


def test_a_path_of_107_bytes_works(make_daemon, place):
    path = os.path.join(place, "a") + "/"
    path += "s" * (107 - len(path))
    daemon = make_daemon(server={"socket": path}).start()
    assert daemon.client().call("ping") == {}


def test_a_socket_given_by_systemd_is_used_and_left(make_daemon):
    """What socket activation does: the descriptor is number 3, LISTEN_PID is the daemon's own."""
    daemon = make_daemon()
    daemon.write_config()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(daemon.socket_path)
        listener.listen(64)
        inode = os.stat(daemon.socket_path).st_ino
        with Client(daemon.socket_path) as early:
            waiting = early.start("ping")
            starter = ("import os, sys\n"
                       "fd = int(sys.argv[1])\n"
                       "os.dup2(fd, 3) if fd != 3 else os.set_inheritable(3, True)\n"
                       "os.environ['LISTEN_PID'] = str(os.getpid()); os.environ['LISTEN_FDS'] = '1'\n"
                       "os.execv(sys.argv[2], sys.argv[2:])\n")
            process = subprocess.Popen(
                [sys.executable, "-c", starter, str(listener.fileno()), program("semcached"), "--config", daemon.config_path],
                pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                assert waiting.wait() == {}
                with Client(daemon.socket_path) as client:
                    assert client.call("ping") == {}
            finally:
                process.send_signal(signal.SIGTERM)
                _out, log = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, log
        assert os.stat(daemon.socket_path).st_ino == inode


def test_with_few_descriptors_some_wait_and_nothing_spins(make_daemon):
    daemon = make_daemon(server={"max_connections": "1000"})
    daemon.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)))
    daemon.wait_log("few_descriptors")
    first = daemon.client()
    assert first.call("ping") == {}
    clients = [Client(daemon.socket_path) for _ in range(250)]
    waiting = clients[-1].start("ping")
    ticks = cpu_ticks(daemon.pid)
    for _ in range(200):
        first.call("ping")
    assert cpu_ticks(daemon.pid) - ticks < 100
    clients[-1].read_available()
    assert not waiting.done
    for client in clients[:-1]:
        client.close()
    assert waiting.wait() == {}
    clients[-1].close()


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
