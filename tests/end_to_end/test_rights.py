"""Who may do what: admin methods are for root, the daemon's user and admin_group; the socket is for its group."""
import contextlib
import grp
import os
import shutil
import stat

import pytest

from harness.daemon import program

ADMIN = {"add": {"prompt": "q of somebody", "answer": "a"}, "invalidate": {"namespace": "default"}, "flush": {}, "reload": {},
         "drain": {}, "config": {}}
ANYONE = {"hello": {}, "ping": {}, "get_or_generate": {"prompt": "q of anybody"}, "lookup": {"prompt": "q of anybody"},
          "list": {}, "stats": {}, "health": {}}
NOBODY = 65534
DAEMON = 1  # Debian's user "daemon", in no other group

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@contextlib.contextmanager
def somebody(uid, gid, groups=()):
    """What connects in here, connects as this user: the kernel notes the effective ids of that moment."""
    before = os.getgroups()
    os.setgroups(list(groups))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@pytest.fixture
def open_daemon(make_daemon, redis, upstream, place):
    """A function: a daemon whose socket everybody can reach."""
    def make(**server):
        os.chmod(place, 0o755)
        daemon = make_daemon(redis=redis, upstream=upstream, server={"mode": "0666", **server})
        os.chmod(daemon.directory, 0o755)
        return daemon
    return make


@pytest.mark.parametrize("method", ADMIN)
def test_others_are_denied_and_logged(open_daemon, method):
    daemon = open_daemon().start()
    with somebody(NOBODY, NOBODY):
        client = daemon.client()
    error = client.fails(method, "DENIED", **ADMIN[method])
    assert error.text
    line = daemon.wait_log(rf"denied .*method={method}")
    assert f"uid={NOBODY}" in line
    assert daemon.counters()["denied"] == 1
    assert client.call("ping") == {}


@pytest.mark.parametrize("method", ANYONE)
def test_others_may_ask(open_daemon, method):
    daemon = open_daemon().start()
    with somebody(NOBODY, NOBODY):
        client = daemon.client()
    client.call(method, **ANYONE[method])


def test_others_may_show(open_daemon):
    daemon = open_daemon().start()
    entry = daemon.client().ask("shown to anybody")["entry"]
    daemon.settle()
    with somebody(NOBODY, NOBODY):
        client = daemon.client()
    assert client.call("show", entry=entry)["question"] == "shown to anybody"


@pytest.mark.parametrize("ids, allowed", [
    ((0, 0), True), ((DAEMON, NOBODY), True), ((NOBODY, NOBODY), False), ((NOBODY, DAEMON), False),
])
def test_the_daemons_own_user_may_and_its_group_may_not(open_daemon, place, redis, upstream, ids, allowed):
    daemon = open_daemon()
    daemon.program = shutil.copy(program("semcached"), place)  # the build may lie where that user may not go
    for path in (place, daemon.directory):
        os.chown(path, DAEMON, DAEMON)
    for path in (redis.path, upstream.socket_path):
        os.chmod(path, 0o666)
    key_path = daemon.config["upstream main"]["key_file"]
    os.chown(key_path, DAEMON, DAEMON)
    daemon.start(user=DAEMON, group=DAEMON, extra_groups=[])
    with somebody(*ids):
        client = daemon.client()
    if allowed:
        assert client.call("config")
    else:
        client.fails("config", "DENIED")


@pytest.mark.parametrize("gid, groups, allowed", [("games", (), True), ("nogroup", ("games",), True), ("nogroup", (), False),
                                                  ("nogroup", ("daemon",), False)])
def test_members_of_admin_group_may(open_daemon, gid, groups, allowed):
    daemon = open_daemon(admin_group="games").start()
    with somebody(NOBODY, grp.getgrnam(gid).gr_gid, [grp.getgrnam(name).gr_gid for name in groups]):
        client = daemon.client()
    if allowed:
        assert client.add("asked by an admin", "x")["stored"] == "redis"
    else:
        client.fails("add", "DENIED", prompt="asked by another", answer="x")


def test_the_socket_has_owner_group_and_mode_of_the_configuration(make_daemon):
    daemon = make_daemon(server={"owner": "games", "group": "daemon", "mode": "0620"}).start()
    status = os.stat(daemon.socket_path)
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o620
    assert (status.st_uid, status.st_gid) == (5, 1)


@pytest.mark.parametrize("mode, groups, allowed", [("0660", (), False), ("0660", ("games",), True), ("0600", ("games",), False),
                                                   ("0666", (), True)])
def test_only_the_sockets_group_may_connect(open_daemon, mode, groups, allowed):
    daemon = open_daemon(group="games", mode=mode).start()
    with somebody(NOBODY, NOBODY, [grp.getgrnam(name).gr_gid for name in groups]):
        if allowed:
            client = daemon.client()
        else:
            with pytest.raises(PermissionError):
                daemon.client()
            return
    assert client.call("ping") == {}


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_does_not_depend_on_the_umask(make_daemon, umask):
    daemon = make_daemon(server={"mode": "0660"}).start(umask=umask)
    assert stat.S_IMODE(os.stat(daemon.socket_path).st_mode) == 0o660
