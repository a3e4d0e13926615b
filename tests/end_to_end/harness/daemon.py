"""The real daemon: configured, started, watched, and asked at the end whether it left in order."""
import os
import re
import secrets
import signal
import subprocess
import threading

from . import process
from .waiting import DEADLINE_S, eventually
from .wire import Client, Closed

SANITIZER = re.compile(r"ERROR: (Address|Leak|Undefined|Thread|Memory)Sanitizer|runtime error:|SUMMARY: \w*Sanitizer")
SHORTEST_TEXT = 10  # shorter ones may be a part of anything


def build_directory():
    """Where the programs under test are."""
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return os.environ.get("SEMCACHE_BUILD") or os.path.join(top, "build")


def program(name):
    """The path of a program of the build."""
    path = os.path.join(build_directory(), name)
    assert os.access(path, os.X_OK), f"{path} is not built"
    return path


def config_text(sections):
    """The INI file of {section: {key: value}}; None leaves a key out."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {value}" for key, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


class Daemon:
    """One semcached. `config` is {section: {key: value}} over the defaults of `default_config()`."""

    def __init__(self, directory, config, environment=None, secret_values=()):
        self.directory = directory
        self.config = config
        self.config_path = os.path.join(directory, "semcached.conf")
        self.socket_path = config["server"]["socket"]
        self.environment = environment or {}
        self.program = None  # None: the build's
        self.secret_values = set(secret_values)
        self.sent_texts = set()
        self.lines = []
        self.process = None
        self.clients = []
        self.may_log_texts = False
        self.redis = None
        self.frozen = False
        self.ending = False
        self._condition = threading.Condition()
        self._log_thread = None

    # ---- life ----

    def configure(self, section, **values):
        """Sets keys of a section before the start. Returns itself."""
        self.config.setdefault(section, {}).update(values)
        return self

    def spawn(self, **options):
        """Starts the process without waiting for anything. Returns itself."""
        self.write_config()
        self.frozen = self.ending = False
        environment = {**os.environ, **self.environment}
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:halt_on_error=1")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"):
            if name not in self.environment:
                environment.pop(name, None)
        self.process = subprocess.Popen([self.program or program("semcached"), "--config", self.config_path], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
        self._log_thread = threading.Thread(target=self._read_log, args=(self.process.stderr,), daemon=True)
        self._log_thread.start()
        return self

    def start(self, follows=True, **options):
        """Starts it and waits until it answers a ping and, with Redis, has loaded what is stored and follows the log (what is
        kept in memory before that is forgotten then). Returns itself."""
        already = len(self.lines)
        self.spawn(**options)
        eventually(self._answers, "the daemon to answer")
        if follows and self.config["redis"]["url"]:
            self.wait_log(r"\bfollowing_redis", since=already)
            self.wait_log(r"\bverdicts_loaded", since=already)
            if self.config["embedder"].get("url"):
                self.wait_log(r"\bloaded ", since=already)
        return self

    def _answers(self):
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log}"
        try:
            with Client(self.socket_path) as client:
                client.call("ping")
                return True
        except (OSError, Closed):
            return False

    def write_config(self):
        """Writes self.config where the daemon reads it."""
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(config_text(self.config))

    def terminate(self):
        """Sends SIGTERM and does not wait."""
        self.ending = True
        self.process.send_signal(signal.SIGTERM)

    def wait_exit(self):
        """Until it has ended. Returns its exit status."""
        try:
            status = self.process.wait(DEADLINE_S + int(self.config["server"]["drain_timeout_ms"]) / 1000)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(DEADLINE_S)
            raise AssertionError(f"the daemon did not end after SIGTERM:\n{self.log}") from None
        self._log_thread.join(DEADLINE_S)
        return status

    def stop(self):
        """SIGTERM, and everything that must then hold."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self.process is None:
            return
        if self.process.poll() is None:
            if self.frozen:
                self.thaw()
            self.terminate()
        status = self.wait_exit()
        self.process = None
        self.check_log()
        assert status == 0, f"exit status {status}:\n{self.log}"

    def kill(self):
        """SIGKILL: it loses what it had in memory."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self._log_thread.join(DEADLINE_S)
        self.process = None
        self.check_log()

    def end_for_sure(self):
        """Leaves no process, whatever went wrong."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)

    def restart(self):
        """In order, on the same configuration (which the test may have changed)."""
        self.stop()
        return self.start()

    def freeze(self):
        """SIGSTOP."""
        self.frozen = True
        process.freeze(self.process.pid)

    def thaw(self):
        """SIGCONT."""
        process.thaw(self.process.pid)
        self.frozen = False

    @property
    def pid(self):
        return self.process.pid

    # ---- clients ----

    def client(self, **options):
        """A new connection, closed at the end of the test."""
        client = Client(self.socket_path, sent_texts=self.sent_texts, **options)
        self.clients.append(client)
        return client

    def stats(self):
        """The result of `stats`, over a connection of its own."""
        with Client(self.socket_path) as client:
            return client.call("stats")

    def counters(self):
        """The counters of `stats`."""
        return self.stats()["counters"]

    def health(self):
        """The result of `health`, over a connection of its own."""
        with Client(self.socket_path) as client:
            return client.call("health")

    def part(self, name):
        """One part of `health`, or None."""
        return next((part for part in self.health()["parts"] if part["part"] == name), None)

    def wait_part(self, name, state):
        """Until `health` says that a part is in `state`. Returns the part."""
        def look():
            part = self.part(name)
            return part if part and part["state"] == state else None
        return eventually(look, f"part {name} to be {state}")

    def settle(self):
        """Until what was to be written is in Redis; nothing where that cannot be: stopped, ending, or Redis away."""
        if self.process is None or self.process.poll() is not None or self.frozen or self.ending or self.redis is None:
            return
        if not self.redis.frozen and self.redis.process.poll() is None:
            eventually(lambda: self.stats()["gauges"]["write_queue_writes"] == 0 or self.part("redis")["state"] != "up",
                       "the write queue to be written")

    def wait_idle(self):
        """Until nothing is in flight."""
        eventually(lambda: in_flight(self.stats()) == 0, "nothing to be in flight")

    # ---- log ----

    def _read_log(self, stream):
        for line in stream:
            with self._condition:
                self.lines.append(line.decode("utf-8", "replace"))
                self._condition.notify_all()
        with self._condition:
            self._condition.notify_all()

    @property
    def log(self):
        """Everything it wrote to stderr."""
        return "".join(self.lines)

    def wait_log(self, pattern, count=1, since=0):
        """Until `count` lines of the log, from line number `since` on, match. Returns the last of them."""
        compiled = re.compile(pattern)

        def found():
            return [line for line in self.lines[since:] if compiled.search(line)]
        with self._condition:
            if not self._condition.wait_for(lambda: len(found()) >= count, DEADLINE_S):
                raise AssertionError(f"no log line matches {pattern!r}:\n{self.log}")
        return found()[count - 1]

    def check_log(self):
        """No sanitizer's report, no secret, no text of a question or an answer."""
        log = self.log
        assert not SANITIZER.search(log), log
        for secret in self.secret_values:
            assert secret not in log, f"the log holds the secret {secret!r}:\n{log}"
        if not self.may_log_texts:
            for text in self.sent_texts:
                assert len(text) < SHORTEST_TEXT or text not in log, f"the log holds a text of a question: {text!r}:\n{log}"


def in_flight(stats):
    """What `stats` says is being worked on, without the call that asked."""
    gauges = stats["gauges"]
    return max(0, gauges["in_flight"] - 1) + gauges["flights"] + gauges["upstream_in_flight"]


def default_config(directory, redis=None, upstream=None, secret=None, name="a"):
    """The configuration that a scenario starts from: short deadlines where the test stops a part, else the defaults."""
    config = {
        "server": {"socket": os.path.join(directory, f"{name}.sock"), "drain_timeout_ms": "10000"},
        "memory": {},
        "redis": {"url": redis.url if redis else ""},
        "embedder": {},
        "log": {"level": "debug"},
    }
    if upstream:
        config["embedder"] = {"url": "http://embedder.test/v1", "unix_socket": upstream.socket_path, "model": "test-embedder"}
        config["upstream main"] = {"url": "http://model.test/v1", "unix_socket": upstream.socket_path,
                                   "models": "test-model, other-model"}
        if secret:
            key_path = os.path.join(directory, "main.key")
            with open(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
                file.write(secret + "\n")
            config["upstream main"]["key_file"] = key_path
            config["embedder"]["key_file"] = key_path
    config["namespace default"] = {}
    return config


def new_secret():
    """A key that cannot occur by chance."""
    return "sk-test-" + secrets.token_hex(16)
