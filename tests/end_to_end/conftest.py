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
def ending(place):
    """What ends the parts of a test, as (rank, function): in whatever order they were made, the daemons end first, with what
    they need still there."""
    functions = []
    yield functions
    problems = []
    for _rank, end in sorted(functions, key=lambda pair: pair[0]):
        try:
            end()
        except AssertionError as problem:
            problems.append(str(problem))
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def redis(place, ending):
    """A running Redis."""
    server = RedisServer(place)
    ending.append((2, server.stop))
    return server.start()


@pytest.fixture
def upstream(place, ending):
    """A running scripted upstream: chat and embeddings."""
    service = Upstream(os.path.join(place, "upstream.sock")).start()
    ending.append((1, service.stop))
    return service


@pytest.fixture
def secret():
    """The key that the daemon sends to upstream and embedder."""
    return new_secret()


@pytest.fixture
def make_daemon(place, ending, secret):
    """A function that makes a daemon (not started): make_daemon(name, redis=, upstream=, **{section: {key: value}})."""
    def make(name="a", redis=None, upstream=None, environment=None, **sections):
        directory = os.path.join(place, name)
        os.mkdir(directory)
        config = default_config(directory, redis, upstream, secret, name)
        for section, values in copy.deepcopy(sections).items():
            config.setdefault(section.replace("__", " "), {}).update(values)
        daemon = Daemon(directory, config, environment, [secret])
        ending.append((0, lambda: finish(daemon, upstream)))
        if redis is not None:
            daemon.redis = redis
            redis.writers.append(daemon)
        return daemon

    return make


def finish(daemon, service):
    """At the end of a test nothing may be left in flight once its clients are gone and the upstream has answered."""
    try:
        end_in_order(daemon, service)
    finally:
        daemon.end_for_sure()


def end_in_order(daemon, service):
    if daemon.process is None:
        daemon.check_log()
        return
    for client in daemon.clients:
        client.close()
    daemon.clients.clear()
    if daemon.redis is not None and daemon.redis.frozen:
        daemon.redis.thaw()
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
