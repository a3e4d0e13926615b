"""The processes of a bench: the daemon, its peers, the scripted upstream and the load, each on its core and on Unix sockets in
one private folder. What they print is read as JSON."""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEADLINE_S = 60
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
IDENTITY = re.compile(r"[0-9a-f]{64}")


class Missing(Exception):
    """A program that a row needs is not installed."""


class Failed(Exception):
    """A program of the bench did not do its work."""


def redis_program():
    """(program, name to run it under). Debian's redis-tools holds the server as well, as redis-check-rdb."""
    if path := shutil.which("redis-server"):
        return path, path
    if path := shutil.which("redis-check-rdb"):
        return path, "redis-server"
    raise Missing("redis-server is not installed")


def status_kib(pid, name):
    """A value of /proc/PID/status or smaps_rollup, in KiB."""
    source = "status" if name.startswith("Vm") else "smaps_rollup"
    with open(f"/proc/{pid}/{source}", encoding="ascii") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    raise Failed(f"no {name} of process {pid}")


class Redis:
    """Just enough of a client to look into the private redis-server."""

    def __init__(self, path):
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.link.settimeout(DEADLINE_S)
        self.link.connect(path)
        self.file = self.link.makefile("rb")

    def send(self, *words):
        """Sends one command."""
        parts = [f"*{len(words)}\r\n".encode()]
        for word in words:
            data = word if isinstance(word, bytes) else word.encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.link.sendall(b"".join(parts))

    def read(self):
        """One reply; an error's text raises."""
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-" or not line:
            raise Failed(f"Redis: {rest.decode()}")
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest.decode()

    def command(self, *words):
        """One command and its reply."""
        self.send(*words)
        return self.read()

    def close(self):
        """Ends the connection."""
        self.file.close()
        self.link.close()


class Machine:
    """Where everything of a run lives. A context: at its end all processes have ended and the folder is gone."""

    def __init__(self, build):
        self.build = build
        self.cores = sorted(os.sched_getaffinity(0))
        self.directory = None
        self.running = []
        self.number = 0

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="bench.", dir="/tmp")
        return self

    def __exit__(self, *_exception):
        for process in list(self.running):
            self.stop(process)
        shutil.rmtree(self.directory)

    def path(self, name):
        """A new path in the folder."""
        self.number += 1
        return os.path.join(self.directory, f"{self.number}.{name}")

    def program(self, name):
        """A program of the build."""
        path = os.path.join(self.build, name)
        if not os.access(path, os.X_OK):
            raise Missing(f"{name} is not built: cmake -DSEMCACHE_BENCH=ON -S . -B {os.path.relpath(self.build)}")
        return path

    def core(self, role):
        """The server under test has a core of its own; the others share what is left."""
        place = {"server": 0, "load": 1, "upstream": 2, "redis": 3}[role]
        return self.cores[0] if place == 0 or len(self.cores) == 1 else self.cores[1 + (place - 1) % (len(self.cores) - 1)]

    def start(self, role, arguments, **options):
        """Starts a process on its role's core. The core is inherited, so nothing runs between fork and exec."""
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core(role)})
        try:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, **options)
        finally:
            os.sched_setaffinity(0, mine)
        self.running.append(process)
        return process

    def stop(self, process):
        """SIGTERM, and what it printed."""
        if process.poll() is None:
            process.terminate()
        try:
            output = process.communicate(timeout=DEADLINE_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
        if process in self.running:
            self.running.remove(process)
        return output

    def finish(self, process):
        """Waits for a process that ends by itself, and reads its JSON."""
        output, errors = process.communicate(timeout=2 * DEADLINE_S)
        self.running.remove(process)
        if process.returncode != 0:
            raise Failed(f"{os.path.basename(process.args[0])}: {errors.decode().strip()}")
        result = json.loads(output)
        if result.get("errors") or result.get("bad"):
            raise Failed(f"{os.path.basename(process.args[0])}: {errors.decode().strip() or result}")
        return result

    def wait_socket(self, path, process):
        """Until somebody listens at `path`."""
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            if process.poll() is not None:
                raise Failed(f"{process.args[0]} ended with {process.returncode}")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                try:
                    link.connect(path)
                    return
                except OSError:
                    time.sleep(0.002)
        raise Failed(f"{process.args[0]} does not listen")

    # ---- what a bench is made of ----

    def redis(self, role="redis"):
        """A redis-server that keeps nothing on disk. Returns (process, socket)."""
        program, name = redis_program()
        path = self.path("redis")
        process = self.start(role, [name, "--port", "0", "--unixsocket", path, "--dir", self.directory, "--save", "",
                                    "--appendonly", "no"], executable=program, stdout=subprocess.DEVNULL)
        self.wait_socket(path, process)
        return process, path

    def memcached(self):
        """A memcached with one thread. Returns (process, socket)."""
        program = shutil.which("memcached")
        if not program:
            raise Missing("memcached is not installed")
        path = self.path("memcached")
        user = ["-u", "root"] if os.geteuid() == 0 else []
        process = self.start("server", [program, "-s", path, "-t", "1", "-m", "64", *user], stdout=subprocess.DEVNULL)
        self.wait_socket(path, process)
        return process, path

    def upstream(self, **options):
        """The scripted upstream. Returns (process, socket); what stop() returns is its JSON."""
        path = self.path("upstream")
        process = self.start("upstream", [self.program("tests/bench/bench_upstream"), path, *as_options(options)],
                             stdout=subprocess.PIPE)
        self.wait_socket(path, process)
        return process, path

    def daemon(self, wait=True, **config):
        """The daemon. Sections as dicts; returns (process, socket)."""
        path = self.path("semcached")
        sections = {"server": {"socket": path}, **{name.replace("_", " "): values for name, values in config.items()}}
        with open(path + ".conf", "w", encoding="utf-8") as file:
            for name, values in sections.items():
                file.write(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))
        with open(path + ".log", "wb") as log:
            process = self.start("server", [self.program("semcached"), "--config", path + ".conf"], stderr=log)
        if wait:
            self.wait_socket(path, process)
        return process, path

    def load_start(self, path, protocol, **options):
        """The load generator, started; finish() reads its result."""
        return self.start("load", [self.program("tests/bench/bench_load"), path, protocol, *as_options(options)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def load(self, path, protocol, **options):
        """A whole run of the load generator."""
        return self.finish(self.load_start(path, protocol, **options))

    def stats(self, path):
        """The daemon's statistics."""
        done = subprocess.run([self.program("client/semcachectl"), "--socket", path, "stats", "--json"], capture_output=True,
                              timeout=DEADLINE_S, check=False)
        if done.returncode != 0:
            raise Failed(f"semcachectl stats: {done.stderr.decode().strip()}")
        return json.loads(done.stdout)


def as_options(options):
    """connections=1 -> --connections 1; True stands alone, None is left out."""
    words = []
    for name, value in options.items():
        if value is not None and value is not False:
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else [str(value)]
    return words


def model(path, **more):
    """The section of the upstream at `path`."""
    return {"url": "http://localhost/v1", "unix_socket": path, "models": "bench", "max_transfers": 2000, **more}


def embedder(path):
    """The section of the embedder at `path`."""
    return {"url": "http://localhost/v1", "unix_socket": path, "model": "bench", "timeout_ms": 10000}


def commands_of(redis_path, ask):
    """The reads that reach Redis while `ask()` runs, as lists of words: no writes that are still on their way, and not the daemon's
    own housekeeping."""
    mark = "bench-mark"
    monitor, other = Redis(redis_path), Redis(redis_path)
    monitor.command("MONITOR")
    ask()
    other.command("ECHO", mark)
    commands = []
    while True:
        words = QUOTED.findall(monitor.file.readline().decode())
        if mark in words:
            break
        if words and words[0] in ("GET", "HMGET", "PTTL"):
            commands.append(words)
    monitor.close()
    other.close()
    return commands


def identities_of(redis_path, count):
    """The identities of the load's questions, by their number."""
    found = [None] * count
    redis = Redis(redis_path)
    for key in redis.command("KEYS", "semcache:entry:*"):
        question = redis.command("HGET", key, "question").decode()
        found[int(re.search(r"number (\d{6}) ", question).group(1))] = key.decode().rsplit(":", 1)[1]
    redis.close()
    if None in found:
        raise Failed("not every answer is in Redis")
    return found
