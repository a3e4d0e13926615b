from harness.waiting import eventually
QUESTION = "Does this work without Redis?"


def test_nothing_of_memory_is_served_when_redis_was_away_for_too_long(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("redis", serve_disconnected="1", timeout_ms="200").start()
    client = daemon.client()
    client.ask(QUESTION)
    assert client.lookup(QUESTION)["tier"] == "memory"
    st=client.call("stats")
    print("BEFORE", st)
    redis.kill()
    daemon.wait_part("redis", "down")
    upstream.vectors.near("another wording", QUESTION, 0.97)
    eventually(lambda: client.lookup(QUESTION, mode="exact")["tier"] == "miss", "memory to be distrusted")
    assert client.lookup(QUESTION)["tier"] == "miss"
    assert client.lookup("another wording")["tier"] == "miss"
    st=client.call("stats")
    print("AWAY", st)
    redis.start()
    daemon.wait_part("redis", "up")
    assert client.ask(QUESTION)["tier"] in ("upstream", "memory")
