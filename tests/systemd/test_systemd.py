"""The units under a real systemd: what `cmake --install` and `systemctl enable --now semcached.socket` give an operator.

One machine is booted for all tests of this file; the Redis and the upstream it uses are the test's own, on Unix sockets in a
folder that is bound into it. Each test leaves the daemon running on the configuration it found.
"""
import asyncio
import glob
import os
import re
import shutil
import subprocess
import tempfile

import pytest
from harness.daemon import build_directory, program
from harness.redis_server import RedisServer
from harness.waiting import eventually
from machine import Machine, Unable, make_base, packages_of
from upstream import Upstream

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLACE = "/srv/test"  # in the machine
VENV = "/usr/local/lib/semcache/venv"
CLIENTS = 50
CONFIG = f"""
[redis]
url = unix:{PLACE}/redis.sock
[embedder]
url = http://localhost/v1
unix_socket = {PLACE}/upstream.sock
model = test-embedder
[upstream main]
url = http://localhost/v1
unix_socket = {PLACE}/upstream.sock
models = test-model
"""


class Host:
    """What the tests share: the machine, and this side's Redis and upstream."""

    def __init__(self, place):
        self.place = place
        self.redis = RedisServer(place, ["--unixsocketperm", "777"])
        self.upstream = Upstream(os.path.join(place, "upstream.sock"))
        self.machine = None

    def ask(self, question, *options, user="root"):
        """Asks by semcachectl; returns what it printed, the tier included."""
        return self.machine.run("setpriv", f"--reuid={user}", "--regid=nogroup", "--init-groups",
                                "semcachectl", "ask", *options, question)

    def configure(self, text):
        """Writes the daemon's configuration and starts it anew."""
        self.machine.write("/etc/semcache/semcached.conf", text)
        self.machine.run("systemctl", "restart", "semcached")

    def drop_in(self, unit, name, text):
        """Writes a drop-in of a unit; "" removes it."""
        path = f"/etc/systemd/system/{unit}.d/{name}.conf"
        if text:
            self.machine.write(path, text)
        else:
            self.machine.run("rm", "-f", path)
        self.machine.run("systemctl", "daemon-reload")


def install(machine):
    """What the README says, and two users: one may connect, one may not."""
    machine.run("useradd", "--system", "stranger")
    output = machine.run("cmake", "--install", build_directory())
    assert "Warning" not in output, output
    machine.run("useradd", "--system", "--groups=semcache", "friend")
    machine.run("systemctl", "enable", "--now", "semcached.socket")


@pytest.fixture(scope="module")
def host():
    """A machine with semcached installed and its socket enabled; nothing has been asked yet."""
    place = tempfile.mkdtemp(prefix="sc-", dir="/tmp")
    os.chmod(place, 0o755)
    shared = Host(place)
    try:
        base = make_base("service", {"cmake", "python3", *packages_of([program("semcached"), program("client/semcachectl")])})
        options = ["--private-network", f"--bind-ro={TOP}", f"--overlay={build_directory()}::{build_directory()}", f"--bind={place}:{PLACE}",
                   f"--bind-ro={make_venv(place)}:{VENV}"]
        shared.redis.start()
        shared.upstream.start()
        os.chmod(os.path.join(place, "upstream.sock"), 0o777)
        shared.machine = Machine(base, os.path.join(place, "machine.log"), options).boot()
        install(shared.machine)
        shared.machine.write("/etc/semcache/semcached.conf", CONFIG)
        yield shared
    except Unable as reason:
        pytest.skip(f"no systemd to test in: {reason}")
    finally:
        if shared.machine:
            shared.machine.stop()
        if shared.redis.process:
            shared.upstream.stop()
            shared.redis.stop()
        shutil.rmtree(place, ignore_errors=True)


def make_venv(place):
    """The embedders' packages as their units say to install them. The machine has no network, so it is done here."""
    venv = os.path.join(place, "venv")
    subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
    for name in ("embedder", "second"):
        subprocess.run([venv + "/bin/pip", "install", "-q", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r",
                        os.path.join(TOP, f"daemon/local/requirements-{name}.txt")], check=True)
    return venv


def test_the_units_are_sound(host):
    units = [os.path.basename(unit).removesuffix(".in") for unit in glob.glob(os.path.join(TOP, "systemd", "*.s[eo][rc]*"))]
    assert len(units) == 4
    paths = [f"/usr/local/lib/systemd/system/{unit}" for unit in units]
    assert host.machine.run("systemd-analyze", "--man=no", "verify", *paths).strip() == ""
    for unit, most in (("semcached.service", 1.5), ("semcache-embedder.service", 0.5),
                       ("semcache-second.service", 0.5)):
        verdict = host.machine.run("systemd-analyze", "--no-pager", "security", unit)
        assert float(re.search(r"level for \S+: ([0-9.]+)", verdict)[1]) <= most


def test_the_first_question_starts_the_daemon(host):
    assert host.machine.show("semcached.service", "ActiveState") == "inactive"
    assert host.machine.run("stat", "-c", "%U %G %a", "/run/semcache/semcached.sock").split() == ["root", "semcache", "660"]
    assert "The answer to <what is a unit> is" in host.ask("what is a unit", user="friend")
    assert host.machine.show("semcached.service", "ActiveState") == "active"
    assert host.machine.show("semcached.service", "Type") == "notify"
    status = host.machine.run("cat", f"/proc/{host.machine.show('semcached.service', 'MainPID')}/status")
    uid = host.machine.run("id", "-u", "semcache").strip()
    assert re.search(rf"^Uid:\s+{uid}\s", status, re.M)
    assert re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert re.search(r"^Seccomp:\s+2$", status, re.M)


def test_only_the_group_may_connect_and_only_administrators_may_flush(host):
    output = host.machine.run("setpriv", "--reuid=stranger", "--regid=nogroup", "--init-groups", "semcachectl", "ping", check=False)
    assert "Permission denied" in output
    assert "DENIED" in host.machine.run("setpriv", "--reuid=friend", "--regid=nogroup", "--init-groups", "semcachectl", "flush",
                                        "--yes", "--namespace", "default", check=False)
    assert re.search(r"denied.*uid=", host.machine.journal("semcached"), re.I)
    host.machine.run("semcachectl", "flush", "--yes", "--namespace", "default")


def test_ten_restarts_under_fifty_clients_lose_and_repeat_nothing(host):
    host.upstream.when("restart", lambda chat: asyncio.get_running_loop().call_later(
        0.02, lambda: (chat.token("fine"), chat.finish())))
    before = len(host.upstream.chats)
    clients = os.path.join(host.place, "clients")
    subprocess.run(["cc", "-std=gnu11", "-O1", "-I", f"{TOP}/client", f"{TOP}/tests/systemd/clients.c", "-o", clients,
                    "-L", f"{build_directory()}/client", "-lsemcache", "-pthread"], check=True)
    asking = host.machine.start([f"{PLACE}/clients", str(CLIENTS), "restart"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True)
    for _ in range(10):
        reached = len(host.upstream.chats) + CLIENTS
        host.upstream.wait(lambda: len(host.upstream.chats) >= reached, "the clients to ask on")
        host.machine.run("systemctl", "restart", "semcached")
    output, _ = asking.communicate("", timeout=120)
    host.upstream.forget_rules()
    asked = int(re.search(r"asked=(\d+)", output)[1])
    assert "failed=0 " in output, output
    texts = [chat.text for chat in host.upstream.chats[before:]]
    assert len(texts) == len(set(texts)), "an answer was paid for twice"
    assert len(texts) == asked, output


def test_a_stopped_daemon_is_revived_by_its_watchdog(host):
    host.drop_in("semcached.service", "watchdog", "[Service]\nWatchdogSec=1\n")
    host.machine.run("systemctl", "restart", "semcached")
    before = host.machine.show("semcached.service", "MainPID")
    host.machine.run("kill", "-STOP", before)
    assert "The answer to <who wakes it> is" in host.ask("who wakes it")
    assert host.machine.show("semcached.service", "MainPID") not in (before, "0")
    assert host.machine.show("semcached.service", "NRestarts") == "1"
    assert "watchdog" in host.machine.journal("semcached").lower()
    host.drop_in("semcached.service", "watchdog", "")
    host.machine.run("systemctl", "restart", "semcached")


def test_a_reload_takes_what_it_can(host):
    before = host.machine.show("semcached.service", "MainPID")
    host.machine.write("/etc/semcache/semcached.conf", CONFIG + "[namespace default]\nthreshold = 0.77\n")
    host.machine.run("systemctl", "reload", "semcached")
    eventually(lambda: re.search(r"reloaded changed=\"[^\"]*threshold", host.machine.journal("semcached")), "the reload")
    assert host.machine.show("semcached.service", "MainPID") == before
    assert "0.77" in host.machine.run("semcachectl", "config")
    host.configure(CONFIG)


def test_a_key_comes_from_a_credential(host):
    host.machine.write("/etc/semcache/openai.key", "sk-test-credential\n")
    host.machine.run("chmod", "600", "/etc/semcache/openai.key")
    host.drop_in("semcached.service", "key", "[Service]\nLoadCredential=openai:/etc/semcache/openai.key\n")
    host.configure(CONFIG + "key_credential = openai\n")
    host.ask("who knows the key")
    assert host.upstream.wait_chat("who knows the key").headers["authorization"] == "Bearer sk-test-credential"
    assert "sk-test" not in host.machine.journal("semcached")
    host.drop_in("semcached.service", "key", "")
    host.configure(CONFIG)


def test_a_mistake_in_the_configuration_is_in_the_journal(host):
    host.machine.write("/etc/semcache/semcached.conf", CONFIG + "[memory]\nmax_bytes = plenty\n")
    host.machine.run("systemctl", "restart", "semcached", check=False)
    eventually(lambda: "max_bytes" in host.machine.journal("semcached"), "the mistake to be told")
    host.machine.run("systemctl", "reset-failed", "semcached.service", "semcached.socket")
    host.machine.write("/etc/semcache/semcached.conf", CONFIG)
    host.machine.run("systemctl", "restart", "semcached.socket", "semcached.service")
    assert "The answer to" in host.ask("is it well again")


def test_the_local_embedder_is_a_unit_too(host):
    host.machine.run("systemctl", "start", "semcache-embedder")
    host.configure(CONFIG.replace(f"{PLACE}/upstream.sock", "/run/semcache-embedder/embedder.sock", 1).replace(
        "test-embedder", "use-multilingual-v3"))
    before = len(host.upstream.chats)
    host.ask("How do I cook rice?", "--namespace=meaning")
    output = host.ask("如何煮米饭？", "--namespace=meaning", "--threshold=0.7")
    assert "How do I cook rice?" in output
    assert len(host.upstream.chats) == before + 1
    host.machine.run("systemctl", "stop", "semcache-embedder")
    assert host.machine.show("semcache-embedder.service", "Result") == "success"
    host.configure(CONFIG)


def test_the_second_embedder_is_a_unit_too(host):
    # It is up only once it has embedded a text.
    host.machine.run("systemctl", "start", "semcache-second")
    host.machine.run("systemctl", "stop", "semcache-second")
    assert host.machine.show("semcache-second.service", "Result") == "success"


def test_stopping_is_in_order(host):
    host.machine.run("systemctl", "stop", "semcached.service", "semcached.socket")
    assert host.machine.show("semcached.service", "Result") == "success"
    assert host.machine.show("semcached.service", "ExecMainStatus") == "0"
    assert host.machine.run("ls", "/run/semcache").strip() == ""
    host.machine.run("systemctl", "start", "semcached.socket")
    assert "The answer to" in host.ask("and once more")
