"""A real systemd to test units in: a minimal Debian of this host's release, booted by systemd-nspawn.

When all goes well the base folder is made once (debootstrap, under a minute) and kept; a machine is the base under an overlay
in memory, so that whatever is done in it is gone when it stops. Folders of the host are bound into it, and
through them the Unix sockets of the test's own Redis and upstream.

What can go wrong: this host cannot do that (no root, no systemd-nspawn or debootstrap, no overlay, a container that may not
mount). Then Unable says why, and the tests are skipped.
"""
import fcntl
import os
import shutil
import signal
import subprocess

from harness.waiting import DEADLINE_S, eventually

BASE_DIRECTORY = os.environ.get("SEMCACHE_MACHINES") or os.path.join(os.environ.get("TMPDIR", "/tmp"), "semcache-machines")
RUN_TIMEOUT_S = 900
PACKAGES = ("systemd", "systemd-sysv", "dbus", "ca-certificates", "iproute2")


class Unable(Exception):
    """This host cannot boot a machine; the text says why."""


class Failed(AssertionError):
    """A command in the machine ended with another exit status than 0."""


def release():
    """The code name of this host's Debian."""
    with open("/etc/os-release", encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    if fields.get("ID") != "debian":
        raise Unable("this host is no Debian")
    return fields["VERSION_CODENAME"]


def packages_of(programs):
    """The Debian packages whose libraries these programs are linked with."""
    libraries = set()
    for program in programs:
        for line in subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines():
            if "=> /" in line:
                libraries.add(os.path.realpath(line.split("=> ")[1].split(" ")[0]))
    # On a merged /usr the package may list its file under /lib as well as under /usr/lib.
    names = sorted(libraries) + sorted(name.removeprefix("/usr") for name in libraries)
    found = subprocess.run(["dpkg", "-S", *names], check=False, capture_output=True, text=True).stdout
    return {line.split(":")[0] for line in found.splitlines()}


def archive():
    """The URI of this host's Debian archive."""
    names = ["/etc/apt/sources.list"]
    directory = "/etc/apt/sources.list.d"
    names += sorted(os.path.join(directory, name) for name in os.listdir(directory)) if os.path.isdir(directory) else []
    for name in names:
        if not os.path.isfile(name):
            continue
        with open(name, encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split()
                if name.endswith(".sources") and words[:1] == ["URIs:"]:
                    return words[1]
                if name.endswith(".list") and words[:1] == ["deb"]:
                    return next(word for word in words if "://" in word)
    raise Unable("this host's apt knows no archive")


def make_base(name, packages=()):
    """Returns the folder of a Debian that has these packages besides the least; makes it if it is not there."""
    for tool in ("systemd-nspawn", "debootstrap", "nsenter"):
        if not shutil.which(tool):
            raise Unable(f"{tool} is not installed (packages systemd-container, debootstrap, util-linux)")
    if os.geteuid() != 0:
        raise Unable("only root may boot a machine")
    suite, wanted = release(), sorted({*PACKAGES, *packages})
    base = os.path.join(BASE_DIRECTORY, f"{suite}-{name}")
    os.makedirs(BASE_DIRECTORY, mode=0o700, exist_ok=True)
    with open(base + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = base + ".packages"
        if os.path.exists(mark):
            with open(mark, encoding="ascii") as file:
                if file.read().split() == wanted:
                    return base
            os.unlink(mark)
        shutil.rmtree(base, ignore_errors=True)
        with open(base + ".log", "w", encoding="utf-8") as log:
            result = subprocess.run(["debootstrap", "--variant=minbase", "--include=" + ",".join(wanted), suite, base, archive()],
                                    check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if result.returncode != 0:
            raise Unable(f"debootstrap failed, see {base}.log")
        # It would hide folders of the host that are bound below /tmp.
        subprocess.run(["systemctl", f"--root={base}", "mask", "tmp.mount"], check=True, capture_output=True)
        with open(mark, "w", encoding="ascii") as file:
            file.write("\n".join(wanted))
    return base


class Machine:
    """`boot()`, `run()` commands, `stop()`. `options` are systemd-nspawn's: --bind=, --overlay=, --private-network."""

    def __init__(self, base, log_path, options=()):
        self.base = base
        self.log_path = log_path
        self.options = list(options)
        self.process = None

    def boot(self):
        """Returns itself when systemd is up."""
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", f"--directory={self.base}", "--boot", "--register=no", "--keep-unit",
                 "--volatile=overlay", *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually(self._is_up, "the machine to come up")
        return self

    def _is_up(self):
        if self.process.poll() is not None:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                raise Unable(f"systemd-nspawn: {file.read()[-300:].strip()}")
        if self._leader() is None:
            return False
        state = self.start(["systemctl", "is-system-running"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return state.communicate(timeout=DEADLINE_S)[0].strip() in (b"running", b"degraded")

    def _leader(self):
        """The process id, here, of the machine's first process."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        try:
            with open(path, encoding="ascii") as file:
                children = file.read().split()
        except FileNotFoundError:
            return None
        return children[0] if children else None

    def start(self, command, **options):
        """Starts a command in the machine; returns its Popen. `options` are Popen's."""
        options.setdefault("stdin", subprocess.DEVNULL)
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        return subprocess.Popen(["nsenter", "--all", f"--target={self._leader()}", "--", *command], cwd="/", env=environment,
                                **options)

    def run(self, *command, check=True, text=None):
        """Runs a command and returns what it wrote. `text` is its standard input."""
        process = self.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = process.communicate(text, timeout=RUN_TIMEOUT_S)
        if check and process.returncode != 0:
            raise Failed(f"{' '.join(command)}: exit status {process.returncode}\n{output}")
        return output

    def show(self, unit, name):
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def write(self, path, text):
        """Writes a file in the machine."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path, text=text)

    def journal(self, unit):
        """The unit's lines."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def stop(self):
        """Powers it off, or else pulls the plug."""
        if self.process is None or self.process.poll() is not None:
            return
        self.run("systemctl", "poweroff", check=False)
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)
