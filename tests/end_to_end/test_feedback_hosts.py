"""What people say of answers, on several hosts, and while Redis is away, refuses writes or loses what it had."""
import pytest

from harness.waiting import eventually
from test_feedback import QUESTION, SECOND, WORDING, is_rejected, stored, wrong


@pytest.fixture
def near(upstream):
    """The wordings that mean the same as the question, to the embedder."""
    upstream.vectors.near(WORDING, QUESTION, 0.97)
    upstream.vectors.near(SECOND, QUESTION, 0.96)
    return upstream


@pytest.fixture
def pair(make_daemon, redis, near):
    """Two running daemons on one Redis."""
    return [make_daemon(name, redis, near).configure("redis", timeout_ms="300").start() for name in ("a", "b")]


def test_what_one_is_told_the_other_knows(pair):
    one, two = (daemon.client() for daemon in pair)
    entry = stored(pair[0], one)
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "the entry to be followed")
    assert two.ask(WORDING)["tier"] == "semantic"
    wrong(one, entry)
    eventually(lambda: is_rejected(two), "the rejection to be followed")
    own = two.ask(WORDING)
    assert own["tier"] == "upstream"
    two.call("invalidate", entry=own["entry"])
    assert is_rejected(two)
    one.call("feedback", entry=entry, question=WORDING, verdict="undo")
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "the other to follow the undo")


def test_two_hosts_quarantine_together(pair):
    one, two = (daemon.client() for daemon in pair)
    entry = stored(pair[0], one)
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "the entry to be followed")
    assert not wrong(one, entry, WORDING)["quarantined"]
    eventually(lambda: is_rejected(two), "the first verdict to be followed")
    assert wrong(two, entry, SECOND)["quarantined"]
    eventually(lambda: one.lookup(QUESTION)["reason"] == "quarantined", "the quarantine to be followed")


def test_an_alias_taken_back_does_not_lift_the_quarantine_of_the_entry_that_its_wording_has_by_now(pair):
    one, two = (daemon.client() for daemon in pair)
    entry, far = stored(pair[0], one), "What else may be asked?"
    one.call("feedback", entry=entry, question=far, verdict="accept")
    own = stored(pair[0], one, far, cache="refresh")
    for question in (WORDING, SECOND):
        wrong(one, own, question)
    eventually(lambda: two.lookup(far)["reason"] == "quarantined", "the quarantine to be followed")
    one.call("feedback", entry=entry, question=far, verdict="undo")
    wrong(one, entry, SECOND)
    eventually(lambda: is_rejected(two, SECOND), "what was said after it to be followed")
    assert two.lookup(far)["reason"] == "quarantined"


def test_a_verdict_while_redis_is_away_holds_at_once_and_reaches_redis_later(pair, redis):
    (first, second), (one, two) = pair, (daemon.client() for daemon in pair)
    entry = stored(first, one)
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "the entry to be followed")
    redis.freeze()
    assert wrong(one, entry)["queued"] is True
    assert is_rejected(one)
    redis.thaw()
    eventually(lambda: is_rejected(two), "the rejection to be followed")
    assert len(redis.hash("semcache:reject:default")) == 1
    second.restart()
    assert is_rejected(second.client())


def test_a_text_that_one_removes_takes_its_rejections_along_at_the_other(pair):
    one, two = (daemon.client() for daemon in pair)
    entry = stored(pair[0], one)
    wrong(one, entry, WORDING)
    wrong(one, entry, SECOND)
    for gone, left in ((WORDING, 1), (QUESTION, 0)):
        one.call("invalidate", question=gone)
        eventually(lambda: pair[1].stats()["gauges"]["pairs_rejected"] == left, "the removal to be followed")


def test_what_waits_for_redis_outlives_a_reload(make_daemon, redis, near):
    """The log is cut while Redis takes no writes: everything is read again, and this is not in it yet."""
    daemon = make_daemon(redis=redis, upstream=near).configure("redis", timeout_ms="300").start()
    client = daemon.client()
    entry = stored(daemon, client)
    redis.command("CONFIG", "SET", "maxmemory", "1")
    assert wrong(client, entry)["queued"]
    loaded = len(daemon.lines)
    redis.at_once("DEL", "semcache:log")
    assert "rejected=1" in daemon.wait_log("verdicts_loaded", since=loaded)
    redis.at_once("CONFIG", "SET", "maxmemory", "0")
    eventually(lambda: len(redis.hash("semcache:reject:default")) == 1, "the verdict to be written")


def test_what_was_taken_back_unseen_is_forgotten(make_daemon, redis, near):
    """The log is cut after another host has taken a verdict back: what Redis does not have any more does not hold."""
    daemon = make_daemon(redis=redis, upstream=near).configure("redis", timeout_ms="300").start()
    client = daemon.client()
    entry = stored(daemon, client)
    wrong(client, entry, WORDING)
    wrong(client, entry, SECOND)
    loaded = len(daemon.lines)
    redis.pipeline([("DEL", "semcache:reject:default", "semcache:quarantine:default", "semcache:log")])
    assert "rejected=0 quarantined=0 written_again=0" in daemon.wait_log("verdicts_loaded", since=loaded)
    eventually(lambda: client.lookup(WORDING)["tier"] == "semantic", "the entry to be read again")


def test_a_redis_that_lost_its_data_is_told_again(make_daemon, redis, near):
    daemon = make_daemon(redis=redis, upstream=near).configure("redis", timeout_ms="300").start()
    client = daemon.client()
    entry = stored(daemon, client)
    wrong(client, entry, WORDING)
    wrong(client, entry, SECOND)
    redis.kill()
    daemon.wait_part("redis", "down")
    loaded = len(daemon.lines)
    redis.start()
    line = daemon.wait_log("verdicts_loaded", since=loaded)
    assert "rejected=2 quarantined=1 written_again=4" in line
    daemon.settle()
    daemon.restart()
    client = daemon.client()
    stored(daemon, client)
    assert is_rejected(client, WORDING) and is_rejected(client, SECOND)


def test_what_is_said_without_redis_holds_while_the_daemon_runs(make_daemon, near):
    daemon = make_daemon(upstream=near).start()
    client = daemon.client()
    entry = client.ask(QUESTION)["entry"]
    assert wrong(client, entry)["queued"] is False
    assert is_rejected(client)
    client.call("feedback", entry=entry, question=WORDING, verdict="undo")
    assert client.lookup(WORDING)["tier"] == "semantic"
    client.call("feedback", entry=entry, question=WORDING, verdict="accept")
    assert client.lookup(WORDING, threshold=1)["tier"] == "memory"
