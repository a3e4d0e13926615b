"""A redis-server of the test's own on a Unix socket, and just enough of a client to look into it."""
import os
import shutil
import socket
import subprocess
import threading

from . import process
from .waiting import DEADLINE_S, eventually


def executable():
    """(program, name to run it under). Debian's redis-tools holds the server as well, as redis-check-rdb."""
    if path := shutil.which("redis-server"):
        return path, path
    path = shutil.which("redis-check-rdb")
    assert path, "neither redis-server nor redis-check-rdb (package redis-tools) is installed"
    return path, "redis-server"


class RedisError(Exception):
    """An error reply."""


class RedisServer:
    """`start()` it; `freeze()`, `thaw()` and `kill()` are what the faults are made of."""

    def __init__(self, directory, options=()):
        self.directory = directory
        self.path = os.path.join(directory, "redis.sock")
        self.options = list(options)
        self.process = None
        self.frozen = False
        self.writers = []

    @property
    def url(self):
        """For redis.url."""
        return f"unix:{self.path}"

    def start(self):
        """Starts it and waits until it answers. Returns itself."""
        program, name = executable()
        self.process = subprocess.Popen(
            [name, "--port", "0", "--unixsocket", self.path, "--dir", self.directory, "--save", "", "--appendonly", "no",
             "--logfile", os.path.join(self.directory, "redis.log"), "--enable-debug-command", "yes", *self.options],
            executable=program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, "redis-server to answer")
        return self

    def _answers(self):
        assert self.process.poll() is None, f"redis-server ended with {self.process.returncode}"
        try:
            return self.at_once("PING") == b"PONG"
        except (OSError, RedisError):
            return False

    def freeze(self):
        """SIGSTOP: connections stay, nothing is answered."""
        process.freeze(self.process.pid)
        self.frozen = True

    def thaw(self):
        """SIGCONT."""
        self.frozen = False
        process.thaw(self.process.pid)

    def kill(self):
        """SIGKILL; everything in it is lost."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.frozen = False
        if os.path.exists(self.path):
            os.unlink(self.path)

    def stop(self):
        """Ends it, whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)

    def settle(self):
        """Until the daemons of `writers` have written what they have to write: an answer is given before it is stored."""
        for daemon in self.writers:
            daemon.settle()

    def command(self, *arguments):
        """One command. Returns int, bytes, None or a list of these; raises RedisError."""
        return self.pipeline([arguments])[0]

    def pipeline(self, commands, settled=True):
        """Several commands on one connection, `settled`: after what the daemons still have to write. Returns their replies."""
        if settled:
            self.settle()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(DEADLINE_S)
            link.connect(self.path)
            link.sendall(b"".join(encode(command) for command in commands))
            with link.makefile("rb") as file:
                return [read_reply(file) for _command in commands]

    def at_once(self, *arguments):
        """As command(), without waiting for the daemons' writes: where Redis refuses them."""
        return self.pipeline([arguments], settled=False)[0]

    def keys(self, pattern="*"):
        """Names of keys, sorted. (The daemon may never do this; a test may.)"""
        return sorted(self.command("KEYS", pattern))

    def hash(self, key):
        """A hash as a dict of text -> bytes."""
        flat = self.command("HGETALL", key)
        return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}

    def contains(self, needle):
        """Whether the bytes occur anywhere: in a key, a field or a value."""
        for key in self.keys():
            kind = self.command("TYPE", key)
            read = {b"string": ("GET", key), b"hash": ("HGETALL", key), b"zset": ("ZRANGE", key, "0", "-1"),
                    b"set": ("SMEMBERS", key), b"stream": ("XRANGE", key, "-", "+")}[kind]
            if needle in key or needle in flatten(self.command(*read)):
                return True
        return False

    def monitor(self):
        """Starts to record every command that Redis executes."""
        return Monitor(self.path)


class Monitor:
    """Commands as they were executed, as MONITOR prints them, until `stop()`."""

    def __init__(self, path):
        self.lines = []
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._link.connect(path)
        self._link.sendall(encode(("MONITOR",)))
        self._file = self._link.makefile("rb")
        assert read_reply(self._file) == b"OK"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            for line in self._file:
                self.lines.append(line)
        except OSError:
            pass

    def stop(self):
        """Returns the names of the commands, in order."""
        self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)
        self._link.close()
        return [line.split(b'] "', 1)[1].split(b'"', 1)[0].decode().upper() for line in self.lines if b'] "' in line]


def encode(command):
    """A command as RESP."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def read_reply(file):
    """One RESP2 reply."""
    line = file.readline()
    if not line:
        raise ConnectionError("Redis closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else file.read(int(rest) + 2)[:-2]
    assert kind == b"*", line
    return None if rest == b"-1" else [read_reply(file) for _ in range(int(rest))]


def flatten(reply):
    """All bytes of a reply, one after the other."""
    if isinstance(reply, list):
        return b"\0".join(flatten(part) for part in reply)
    return reply if isinstance(reply, bytes) else str(reply).encode()
