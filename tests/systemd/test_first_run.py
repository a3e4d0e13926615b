"""Quickstart on a machine that has nothing: what it installs starts no service, and nothing but its own parts listens."""
import os
import shutil
import subprocess
import tempfile

import pytest
from machine import Machine, Unable, make_base

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# How this host reaches the registries.
PASSED_ON = ("PIP_CERT", "PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy")


def copy_checkout(target):
    """Copies what git knows or would add."""
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], check=True, cwd=TOP, capture_output=True).stdout
    for name in names.decode().split("\0"):
        if name and os.path.isfile(os.path.join(TOP, name)):
            os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
            shutil.copy2(os.path.join(TOP, name), os.path.join(target, name))


@pytest.fixture
def machine():
    """A minimal Debian with systemd, with this host's network and a copy of the checkout in /srv/semcached."""
    place = tempfile.mkdtemp(prefix="sc-", dir="/tmp")
    booted = None
    try:
        base = make_base("least")
        checkout = os.path.join(place, "semcached")
        os.mkdir(checkout)
        copy_checkout(checkout)
        booted = Machine(base, os.path.join(place, "machine.log"),
                         [f"--bind={checkout}:/srv/semcached", f"--bind-ro={CERTIFICATES}"]).boot()
        yield booted
    except Unable as reason:
        pytest.skip(f"no systemd to test in: {reason}")
    finally:
        if booted:
            booted.stop()
        shutil.rmtree(place, ignore_errors=True)


def listening(machine):
    """Every address that a process of the machine listens on. (Those of the host are seen too, but not their processes.)"""
    return {line.split()[4] for line in machine.run("ss", "-Hlntuxp").splitlines() if "users:((" in line}


def units(machine):
    """Enabled units and running services, as systemd sees them."""
    enabled = machine.run("systemctl", "list-unit-files", "--no-legend", "--state=enabled,enabled-runtime,linked")
    services = machine.run("systemctl", "list-units", "--no-legend", "--plain", "--type=service,socket", "--state=running,listening")
    return sorted(enabled.splitlines()), sorted(line.split()[0] for line in services.splitlines())


def test_a_first_run_leaves_no_service_behind(machine):
    before = listening(machine), units(machine)
    settings = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
    output = machine.run("env", *settings, "/srv/semcached/quickstart", "--json")
    assert "installing" in output and '"hits": 3, "misses": 2, "api_calls": 2' in output
    place = machine.run("readlink", "/srv/semcached/.quickstart/sockets").strip()
    own = {f"{place}/{name}.sock" for name in ("chat", "embedder", "redis", "semcached")}
    assert listening(machine) - before[0] == own
    assert units(machine) == before[1]
    machine.run("/srv/semcached/quickstart", "stop")
    assert listening(machine) == before[0]
