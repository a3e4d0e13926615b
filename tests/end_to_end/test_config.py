"""semcached --check-config: a mistake names file, line, key and what is allowed. The program's own options."""
import subprocess

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S


def run(*arguments):
    """(status, stdout, stderr) of semcached."""
    done = subprocess.run([program("semcached"), *arguments], capture_output=True, text=True, timeout=DEADLINE_S,
                          stdin=subprocess.DEVNULL, check=False)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def check(place):
    """A function: checks a configuration text. Returns (status, stderr)."""
    def act(text):
        path = f"{place}/x.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        status, out, err = run("--check-config", "--config", path)
        assert (status == 0) == ("valid" in out)
        return status, err.replace(path, "FILE")
    return act


def test_an_empty_file_is_a_configuration(check):
    assert check("") == (0, "")


def test_everything_a_file_can_say(check):
    assert check("""
[server]
socket = /run/semcache/x.sock
mode = 0600
owner = root
group = root
admin_group = root
max_connections = 10
max_in_flight = 20
max_in_flight_per_connection = 5
max_message_bytes = 1MiB
[memory]
max_bytes = 1GiB
[redis]
url = redis://localhost:6380/2
prefix = x:
timeout_ms = 50
write_queue_bytes = 0
serve_disconnected = 0
[embedder]
url = http://127.0.0.1:1/v1
model = m
dimensions = 512
[log]
level = warning
[upstream a]
url = https://example.test/v1
models = m1, m2
[upstream b]
url = http://example.test/v1
models = *
price_input = 0.15
price_output = 0.6
[namespace default]
threshold = 0.85
[namespace kb]
mode = exact
threshold_min = -1
ttl = 0
alias_ttl = 0
stale_window = 60
context = system, label
""") == (0, "")


@pytest.mark.parametrize("text, line, parts", [
    ("[server]\nsockett = /x\n", 2, ["[server]", "sockett"]),
    ("[sever]\nsocket = /x\n", 1, ["[server]"]),
    ("[server]\nmode = 0999\n", 2, ["[server]", "mode", "octal"]),
    ("[server]\nmax_connections = 0\n", 2, ["max_connections", "1"]),
    ("[server]\nmax_connections = -3\n", 2, ["max_connections"]),
    ("[server]\nmax_connections = 12x\n", 2, ["max_connections"]),
    ("[server]\nmax_connections = 99999999999999999999\n", 2, ["max_connections"]),
    ("[memory]\n\nmax_bytes = 1 elephant\n", 3, ["max_bytes"]),
    ("[redis]\nurl = http://x\n", 2, ["url", "redis://"]),
    ("[redis]\nurl = rediss://x:6379\n", 2, ["url", "stunnel"]),
    ("[embedder]\nurl = ftp://x/v1\n", 2, ["url", "http"]),
    ("[log]\nlevel = loud\n", 2, ["level", "info"]),
    ("[upstream a]\nurl = http://x/v1\nmodels = \n", 3, ["models"]),
    ("[namespace default]\nthreshold = 1.5\n", 2, ["threshold", "-1", "1"]),
    ("[namespace default]\nthreshold = nan\n", 2, ["threshold"]),
    ("[namespace default]\nmode = semantic\n", 2, ["mode", "exact", "shadow", "threshold", "calibrated"]),
    ("[namespace default]\nttl = 1h\n", 2, ["ttl"]),
    ("[namespace bad name]\nttl = 1\n", 1, ["name"]),
    ("[namespace x]\ncontext = everything\n", 2, ["context", "label"]),
    ("socket = /x\n", 1, ["section"]),
    ("[server]\nthis is no line\n", 2, []),
    ("[server]\nsocket = relative.sock\n", 2, ["socket"]),
    ("[upstream a]\nurl = http://x/v1\nmodels = m\nkey_env = NOT_SET_ANYWHERE\n", 4, ["key_env", "environment"]),
    ("[upstream a]\nurl = http://x/v1\nmodels = m\nkey_file = /nonexistent/key\n", 4, ["key_file"]),
    ("[server]\nmode = 0600\nmode = 0660\n", 3, ["mode"]),
])
def test_a_mistake_names_file_line_key_and_what_is_allowed(check, text, line, parts):
    status, err = check(text)
    assert status == 78
    [mistake] = [one for one in err.splitlines() if one.startswith(f"FILE:{line}")]
    for part in parts:
        assert part in mistake, mistake


def test_all_mistakes_are_named_at_once(check):
    status, err = check("[server]\nmode = x\nmax_connections = y\n[namespace default]\nthreshold = z\n")
    assert status == 78
    assert [one.split(":")[1] for one in err.splitlines()] == ["2", "3", "5"]


@pytest.mark.parametrize("text, part", [("[upstream a]\nmodels = m\n", "url"), ("[upstream a]\nurl = http://x/v1\n", "models"),
                                        ("[embedder]\nurl = http://x/v1\n", "model")])
def test_what_is_missing_is_named(check, text, part):
    status, err = check(text)
    assert status == 78 and part in err


def test_a_secret_in_a_mistake_is_not_repeated(check, place):
    path = f"{place}/k"
    with open(path, "w", encoding="ascii") as file:
        file.write("sk-very-secret\x01\n")
    status, err = check(f"[upstream a]\nurl = http://x/v1\nmodels = m\nkey_file = {path}\n")
    assert status == 78 and "sk-very-secret" not in err


def test_a_missing_file_is_named():
    status, _out, err = run("--config", "/nonexistent/semcached.conf")
    assert status == 78 and "/nonexistent/semcached.conf" in err


def test_help_and_version():
    status, out, _err = run("--help")
    assert status == 0 and out.startswith("usage: semcached") and "--check-config" in out
    status, out, _err = run("--version")
    assert status == 0 and out.startswith("semcached ")


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["surplus"], ["--config"]])
def test_wrong_usage(arguments):
    status, out, err = run(*arguments)
    assert status == 64 and not out and "usage" in err


def test_the_daemon_does_not_start_on_a_mistake(make_daemon):
    daemon = make_daemon(server={"max_connections": "none"}).spawn()
    assert daemon.process.wait(DEADLINE_S) == 78
    daemon.process = None
    assert "max_connections" in daemon.wait_log("max_connections")
