"""Redis is stopped, killed, restarted, full or misused: answers still come, and what was paid for is written when it returns."""
import pytest

from harness.waiting import eventually
from upstream import holds

QUESTION = "Does this work without Redis?"
WORDING = "Will this do its work without Redis?"


@pytest.fixture
def daemon(make_daemon, redis, upstream):
    """With a short deadline for Redis, because it is stopped here."""
    return make_daemon(redis=redis, upstream=upstream).configure("redis", timeout_ms="300").start()


def test_with_a_stopped_redis_only_the_first_3_calls_wait_for_it(daemon, redis):
    client = daemon.client()
    client.ask("before it stops")
    redis.freeze()
    for i in range(3):
        assert client.ask(f"waits for Redis {i}")["tier"] == "upstream"
    part = daemon.wait_part("redis", "down")
    assert part["error"]
    reads = daemon.counters()["redis_reads"]
    for i in range(50):
        assert client.ask(f"does not wait {i}")["tier"] == "upstream"
    assert daemon.counters()["redis_reads"] - reads <= 10
    assert client.ask("does not wait 7")["tier"] == "memory"
    assert client.ask("before it stops")["tier"] == "memory"
    assert daemon.health()["status"] == 1
    redis.thaw()
    daemon.wait_part("redis", "up")
    assert daemon.health()["status"] == 0


def test_answers_paid_for_while_redis_was_stopped_are_written_when_it_goes_on(daemon, redis, upstream):
    client = daemon.client()
    client.ask("before it stops")
    redis.freeze()
    for i in range(10):
        client.ask(f"paid for meanwhile {i}", tags=["meanwhile"])
    redis.thaw()
    eventually(lambda: daemon.stats()["gauges"]["write_queue_writes"] == 0, "the queue to be written")
    assert len(redis.keys("semcache:entry:*")) == 11
    daemon.restart()
    client = daemon.client()
    for i in range(10):
        assert client.ask(f"paid for meanwhile {i}")["tier"] == "exact"
    assert len(upstream.chats) == 11


def test_answers_paid_for_while_redis_was_dead_are_written_to_its_successor(daemon, redis, upstream):
    client = daemon.client()
    client.ask("lost with the first Redis")
    redis.settle()
    redis.kill()
    daemon.wait_part("redis", "down")
    for i in range(10):
        assert client.ask(f"paid for meanwhile {i}")["tier"] == "upstream"
    assert daemon.stats()["gauges"]["write_queue_writes"] >= 10
    redis.start()
    daemon.wait_part("redis", "up")
    eventually(lambda: daemon.stats()["gauges"]["write_queue_writes"] == 0, "the queue to be written")
    assert len(redis.keys("semcache:entry:*")) == 10
    daemon.restart()
    for i in range(10):
        assert daemon.client().ask(f"paid for meanwhile {i}")["tier"] == "exact"


def test_a_queued_write_keeps_its_remaining_ttl(daemon, redis):
    client = daemon.client()
    client.call("ping")
    redis.freeze()
    entry = client.ask(QUESTION, ttl=1000)["entry"]
    short = client.ask("gone before it could be written", ttl=1)["entry"]
    eventually(lambda: client.lookup("gone before it could be written")["tier"] == "miss", "the short one to expire")
    redis.thaw()
    eventually(lambda: daemon.stats()["gauges"]["write_queue_writes"] == 0, "the queue to be written")
    assert 0 < redis.command("PTTL", f"semcache:entry:{entry}") < 999_500
    assert redis.command("EXISTS", f"semcache:entry:{short}") == 0


def test_a_daemon_starts_without_redis_and_finds_it_later(make_daemon, redis, upstream):
    redis.kill()
    daemon = make_daemon(redis=redis, upstream=upstream).start(follows=False)
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    assert client.ask(QUESTION)["tier"] == "upstream"
    assert client.ask(QUESTION)["tier"] == "memory"
    # What was said to be wrong has not been read, so nothing is served by meaning yet.
    missed = client.ask(WORDING, cache="no_store")
    assert (missed["tier"], missed["reason"]) == ("upstream", "verdicts_unknown")
    assert daemon.health()["status"] == 1
    redis.start()
    daemon.wait_part("redis", "up")
    eventually(lambda: len(redis.keys("semcache:entry:*")) == 1, "the answer to be written")
    daemon.restart()
    assert daemon.client().ask(QUESTION)["tier"] == "exact"
    hit = daemon.client().ask(WORDING)
    assert hit["tier"] == "semantic"


def test_redis_killed_in_the_middle_of_a_read(daemon, redis, upstream):
    client = daemon.client()
    client.ask("the connection is open now")
    redis.freeze()
    requests = [client.start_ask(f"read when it dies {i}") for i in range(20)]
    client.call("ping")
    redis.kill()
    assert {request.wait()["tier"] for request in requests} == {"upstream"}


def test_redis_killed_in_the_middle_of_a_model_call(daemon, redis, upstream):
    client = daemon.client()
    upstream.when(None, holds)
    request = client.stream(QUESTION)
    chat = upstream.wait_chat()
    chat.token("still ")
    request.wait_text("still ")
    redis.kill()
    chat.token("here").finish()
    assert request.answer == "still here"
    redis.start()
    daemon.wait_part("redis", "up")
    eventually(lambda: redis.keys("semcache:entry:*"), "the answer to be written")


def test_the_write_queue_is_bounded_and_says_what_it_dropped(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("redis", write_queue_bytes="20KiB", timeout_ms="300").start()
    client = daemon.client()
    client.call("ping")
    redis.kill()
    daemon.wait_part("redis", "down")
    upstream.when(None, lambda chat: (chat.token("x" * 4000), chat.finish()))
    for i in range(20):
        assert client.ask(f"too much to keep {i}")["tier"] == "upstream"
    counters = daemon.counters()
    assert counters["write_queue_dropped"] > 0
    gauges = daemon.stats()["gauges"]
    assert 0 < gauges["write_queue_bytes"] <= 20 * 1024
    daemon.wait_log("write_queue")


def test_a_full_redis_costs_the_write_only(make_daemon, redis, upstream):
    redis.command("CONFIG", "SET", "maxmemory", "1")
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    client = daemon.client()
    assert client.ask(QUESTION)["tier"] == "upstream"
    assert client.ask(QUESTION)["tier"] == "memory"
    assert redis.at_once("KEYS", "semcache:entry:*") == []
    redis.at_once("CONFIG", "SET", "maxmemory", "0")
    assert client.ask("another question, now it has room")["tier"] == "upstream"
    eventually(lambda: redis.at_once("KEYS", "semcache:entry:*"), "the next one to be written")


def test_a_read_only_redis_serves_reads(daemon, redis):
    daemon.client().ask(QUESTION)
    daemon.restart()
    redis.at_once("REPLICAOF", "127.0.0.1", "1")
    client = daemon.client()
    assert client.ask(QUESTION)["tier"] in ("exact", "memory")
    assert client.ask("a question to a read-only Redis")["tier"] == "upstream"
    assert client.ask("a question to a read-only Redis")["tier"] == "memory"
    redis.at_once("REPLICAOF", "NO", "ONE")


def test_another_type_under_a_key_of_ours_is_a_miss_and_counted(daemon, redis, upstream):
    entry = daemon.client().ask(QUESTION)["entry"]
    redis.pipeline([("DEL", f"semcache:entry:{entry}"), ("SET", f"semcache:entry:{entry}", "something else")])
    daemon.restart()
    client = daemon.client()
    assert client.ask(QUESTION)["tier"] == "upstream"
    assert client.call("stats")["counters"]["redis_wrong_type"] > 0
    assert daemon.part("redis")["state"] == "up"
    assert client.ask(QUESTION)["tier"] == "memory"
    assert redis.command("TYPE", f"semcache:entry:{entry}") == b"hash"


@pytest.mark.parametrize("field, value", [("schema", b"99"), ("schema", None), ("answer", None), ("generation", b"0" * 16),
                                          ("created_ms", b"not a number"), ("soft_ms", b"")])
def test_an_entry_that_is_not_as_it_should_be_is_a_miss(daemon, redis, field, value):
    entry = daemon.client().ask(QUESTION)["entry"]
    key = f"semcache:entry:{entry}"
    redis.command(*(("HDEL", key, field) if value is None else ("HSET", key, field, value)))
    daemon.restart()
    assert daemon.client().ask(QUESTION)["tier"] == "upstream"


def test_an_unknown_field_of_an_entry_is_ignored(daemon, redis):
    entry = daemon.client().ask(QUESTION)["entry"]
    redis.command("HSET", f"semcache:entry:{entry}", "from_the_future", b"\0\xff")
    daemon.restart()
    assert daemon.client().ask(QUESTION)["tier"] == "exact"


@pytest.mark.parametrize("vector", [b"", b"\0" * 1024, b"abc", b"\xff" * 1024, b"\0\0\x80\x3f" * 128])
def test_a_vector_that_is_none_hides_no_good_one(make_daemon, redis, upstream, vector):
    daemon = make_daemon(redis=redis, upstream=upstream, embedder={"dimensions": "256"}).start()
    upstream.vectors.near("the second question", QUESTION, 0.97)
    upstream.vectors.near("another wording", QUESTION, 0.98)
    client = daemon.client()
    first = client.ask(QUESTION, mode="exact")["entry"]
    client.call("invalidate", entry=first)
    broken = client.ask(QUESTION)["entry"]
    client.ask("the second question", threshold=0.99)
    key = f"semcache:entry:{broken}"
    name = next(field for field in redis.hash(key) if field.startswith("vector:"))
    redis.command("HSET", key, name, vector)
    daemon.restart()
    result = daemon.client().ask("another wording", threshold=0.9)
    assert result["tier"] == "semantic" and result["original_query"] == "the second question"
    assert daemon.client().ask(QUESTION)["tier"] in ("exact", "memory")


def test_a_candidate_that_is_gone_from_redis_hides_no_good_one(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, memory={"max_bytes": "0"}).start()
    client = daemon.client()
    upstream.vectors.near("the second question", QUESTION, 0.95)
    upstream.vectors.near("another wording", QUESTION, 0.98)
    nearest = client.ask(QUESTION)["entry"]
    client.ask("the second question", threshold=0.99)
    redis.command("DEL", f"semcache:entry:{nearest}")
    result = client.ask("another wording", threshold=0.9)
    assert (result["tier"], result["original_query"]) == ("semantic", "the second question")


def test_the_daemon_never_scans_or_flushes_redis(daemon, redis, upstream):
    monitor = redis.monitor()
    client = daemon.client()
    upstream.vectors.near("another wording", QUESTION, 0.95)
    client.ask(QUESTION, tags=["t"])
    client.ask("another wording")
    client.call("list")
    client.call("invalidate", tag="t")
    client.call("invalidate", question=QUESTION)
    client.call("flush")
    daemon.restart()
    used = set(monitor.stop())
    assert {"HMGET", "EXEC"} <= used
    assert not {command for command in used if command in ("KEYS", "SCAN", "FLUSHALL", "FLUSHDB", "CONFIG", "HGETALL")}, used


def test_foreign_keys_are_never_touched(daemon, redis):
    redis.pipeline([("SET", "foreign", "1"), ("SET", "semcached:other", "2"), ("HSET", "other:entry:x", "a", "b")])
    before = {key: redis.command("TYPE", key) for key in redis.keys()}
    client = daemon.client()
    client.ask(QUESTION)
    client.call("flush")
    after = redis.keys()
    assert set(before) <= set(after)
    assert all(key.startswith(b"semcache:") for key in after if key not in before)


def test_a_configured_prefix_keeps_two_caches_apart(make_daemon, redis, upstream):
    one = make_daemon("a", redis, upstream).configure("redis", prefix="one:").start()
    two = make_daemon("b", redis, upstream).configure("redis", prefix="two:").start()
    one.client().ask(QUESTION)
    assert two.client().lookup(QUESTION)["tier"] == "miss"
    assert all(key.startswith((b"one:", b"two:")) for key in redis.keys())
    two.client().call("flush")
    one.restart()
    assert one.client().lookup(QUESTION)["tier"] == "exact"


def test_an_evicting_redis_is_warned_of_at_the_start(make_daemon, redis, upstream):
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    daemon.wait_log("allkeys-lru")


def test_nothing_of_memory_is_served_when_redis_was_away_for_too_long(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("redis", serve_disconnected="1", timeout_ms="200").start()
    client = daemon.client()
    client.ask(QUESTION)
    assert client.lookup(QUESTION)["tier"] == "memory"
    redis.kill()
    daemon.wait_part("redis", "down")
    upstream.vectors.near("another wording", QUESTION, 0.97)
    eventually(lambda: client.lookup(QUESTION, mode="exact")["tier"] == "miss", "memory to be distrusted")
    assert client.lookup(QUESTION)["tier"] == "miss"
    assert client.lookup("another wording")["tier"] == "miss"
    redis.start()
    daemon.wait_part("redis", "up")
    # Redis is empty, unless the write of the answer was still on its way when it was killed.
    assert client.ask(QUESTION)["tier"] in ("upstream", "memory", "exact")
