"""Fixtures: each test has its own folder of sockets, Redis, upstream and daemon, and none of them outlives it."""
import copy
import os
import shutil
import tempfile

import pytest

from harness.daemon import Daemon, default_config, new_secret
from harness.redis_server import RedisServer
from upstream import Upstream


@pytest.fixture
def place():
    """A new folder with a short path, because a socket's path may have 107 bytes."""
    directory = tempfile.mkdtemp(prefix="sc-", dir="/tmp")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def redis(place):
    """A running Redis."""
    server = RedisServer(place)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def upstream(place):
    """A running scripted upstream: chat and embeddings."""
    service = Upstream(os.path.join(place, "upstream.sock")).start()
    yield service
    service.stop()


@pytest.fixture
def secret():
    """The key that the daemon sends to upstream and embedder."""
    return new_secret()


@pytest.fixture
def make_daemon(place, request, secret):
    """A function that makes a daemon (not started): make_daemon(name, redis=, upstream=, **{section: {key: value}})."""
    made = []

    def make(name="a", redis=None, upstream=None, environment=None, **sections):
        directory = os.path.join(place, name)
        os.mkdir(directory)
        config = default_config(directory, redis, upstream, secret, name)
        for section, values in copy.deepcopy(sections).items():
            config.setdefault(section.replace("__", " "), {}).update(values)
        daemon = Daemon(directory, config, environment, [secret])
        made.append((daemon, upstream))
        if redis is not None:
            daemon.redis = redis
            redis.writers.append(daemon)
        return daemon

    yield make
    problems = []
    for daemon, service in made:
        try:
            finish(daemon, service)
        except AssertionError as problem:
            problems.append(str(problem))
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def finish(daemon, service):
    """At the end of a test nothing may be left in flight once its clients are gone and the upstream has answered."""
    if daemon.process is None:
        daemon.check_log()
        return
    for client in daemon.clients:
        client.close()
    daemon.clients.clear()
    if daemon.process.poll() is None and not daemon.frozen and not daemon.ending:
        if service is not None:
            service.forget_rules()
            for exchange in service.open_exchanges():
                exchange.cut()
        daemon.wait_idle()
    daemon.stop()


@pytest.fixture
def daemon(make_daemon, redis, upstream):
    """A running daemon on Redis and upstream."""
    return make_daemon(redis=redis, upstream=upstream).start()


@pytest.fixture
def client(daemon):
    """A connection to it."""
    return daemon.client()
