"""Every counter that something moves, and the sums that must hold among them."""
import pytest

from harness.waiting import eventually
from upstream import fails, holds

QUESTION = "What is being counted here?"
WORDING = "Which things are counted?"


def moved(before, after):
    """The counters that changed, and by how much."""
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def assert_sums(stats):
    """answered = memory + exact + semantic + coalesced + stale + upstream + lookup_miss; hits = all but the last two."""
    c = stats["counters"]
    hits = c["hits_memory"] + c["hits_exact"] + c["hits_semantic"] + c["hits_coalesced"] + c["hits_stale"]
    answered = hits + c["answers_upstream"] + c["lookup_misses"]
    assert stats["hit_rate"] == pytest.approx(hits / answered if answered else 0.0)


def test_the_shape_of_stats(daemon):
    stats = daemon.stats()
    assert stats["version"] and stats["uptime_s"] >= 0 and stats["hit_rate"] == 0.0 and stats["usd_saved"] == 0.0
    for group in ("counters", "gauges", "errors"):
        assert stats[group] and all(isinstance(value, int) and value >= 0 for value in stats[group].values())
    for latency in stats["latencies"].values():
        assert set(latency) >= {"count", "p50_us", "p99_us", "max_us"}
    for name in [*stats["counters"], *stats["gauges"]]:
        assert stats["help"][name]
    assert {"memory", "exact", "semantic", "coalesced", "upstream", "loop"} <= set(stats["latencies"])


def test_one_of_each_tier(daemon, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    client = daemon.client()
    client.ask(QUESTION)
    client.ask(QUESTION)
    client.ask(WORDING)
    client.lookup("something else entirely")
    upstream.when("shared", holds)
    requests = client.start_all("get_or_generate", [{"prompt": "a shared question"}] * 2)
    chat = upstream.wait_chat("shared")
    client.call("ping")
    chat.token("shared").finish()
    for request in requests:
        request.wait()
    stats = daemon.stats()
    counters = stats["counters"]
    assert [counters[name] for name in ("hits_memory", "hits_exact", "hits_semantic", "hits_coalesced", "hits_stale",
                                        "answers_upstream", "lookup_misses")] == [1, 0, 1, 1, 0, 2, 1]
    assert counters["api_calls"] == 2 and counters["api_failures"] == 0
    assert counters["embedding_texts"] == 4 and counters["embedding_calls"] <= 4
    assert counters["entries_stored"] == 2 and counters["aliases_stored"] == 1
    assert counters["tokens_saved"] == 3 * 18
    assert stats["hit_rate"] == pytest.approx(3 / 6)
    assert_sums(stats)
    assert {name: latency["count"] for name, latency in stats["latencies"].items()
            if name in ("memory", "semantic", "coalesced", "upstream")} == \
        {"memory": 1, "semantic": 1, "coalesced": 1, "upstream": 2}
    daemon.restart()
    daemon.client().ask(QUESTION)
    assert daemon.counters()["hits_exact"] == 1


def test_money_where_the_configuration_has_prices(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__main={"price_input": "2", "price_output": "10"}).start()
    client = daemon.client()
    assert client.ask(QUESTION)["saved"] == {"tokens": 0, "usd": 0.0}
    usd = (11 * 2 + 7 * 10) / 1e6
    assert client.ask(QUESTION)["saved"] == {"tokens": 18, "usd": pytest.approx(usd)}
    assert daemon.stats()["usd_saved"] == pytest.approx(usd)


def test_errors_are_counted_by_code(daemon, upstream):
    client = daemon.client()
    client.fails("lookup", "INVALID")
    client.fails("no_such_method", "UNKNOWN_METHOD")
    client.fails("show", "NOT_FOUND", entry="0" * 64)
    upstream.when(None, fails(500))
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    upstream.when(None, holds)
    client.fails("get_or_generate", "TIMEOUT", prompt=QUESTION, timeout_ms=0)
    request = client.start_ask(QUESTION)
    upstream.wait_chat(count=2)
    request.cancel()
    request.fails("CANCELLED")
    errors = {code: count for code, count in daemon.stats()["errors"].items() if count}
    assert errors == {"INVALID": 1, "UNKNOWN_METHOD": 1, "NOT_FOUND": 1, "UPSTREAM": 1, "TIMEOUT": 1, "CANCELLED": 1}
    assert daemon.counters()["api_failures"] == 1


def test_what_is_kept_is_measured(daemon, upstream):
    client = daemon.client()
    before = daemon.stats()["gauges"]
    for i in range(10):
        client.ask(f"measured question {i}")
    after = daemon.stats()["gauges"]
    assert after["entries"] - before["entries"] == 10
    assert after["index_entries"] - before["index_entries"] == 10
    assert after["memory_bytes"] > before["memory_bytes"] and after["index_bytes"] >= before["index_bytes"]
    client.call("flush")
    gone = daemon.stats()["gauges"]
    assert (gone["entries"], gone["index_entries"]) == (0, 0)
    assert daemon.counters()["entries_invalidated"] == 10


def test_what_is_in_flight_is_measured(daemon, upstream):
    client = daemon.client()
    upstream.when(None, holds)
    requests = client.start_all("get_or_generate", [{"prompt": f"in flight {i % 3}"} for i in range(9)])
    upstream.wait_chat("in flight", 3)
    gauges = daemon.stats()["gauges"]
    assert (gauges["in_flight"] - 1, gauges["flights"], gauges["upstream_in_flight"]) == (9, 3, 3)
    for chat in upstream.chats_of("in flight"):
        chat.token("done").finish()
    for request in requests:
        request.wait()
    daemon.wait_idle()


def test_connections_are_counted(daemon):
    first = daemon.client()
    eventually(lambda: first.call("stats")["gauges"]["connections"] == 1, "the connections before to be closed")
    accepted = first.call("stats")["counters"]["connections_accepted"]
    clients = [daemon.client() for _ in range(5)]
    for client in clients:
        client.call("ping")
    stats = first.call("stats")
    assert stats["gauges"]["connections"] == 6
    assert stats["counters"]["connections_accepted"] - accepted == 5
    for client in clients:
        client.close()
    eventually(lambda: first.call("stats")["gauges"]["connections"] == 1, "them to be closed")


def test_large_messages_are_counted(daemon):
    client = daemon.client()
    client.lookup("x" * 100_000)
    assert daemon.counters()["large_messages"] == 1


def test_incomplete_answers_are_counted(daemon, upstream):
    upstream.when(None, lambda chat: (chat.token("cut"), chat.finish("length")))
    before = daemon.counters()
    daemon.client().ask(QUESTION)
    changes = moved(before, daemon.counters())
    assert changes["entries_not_stored"] == 1 and changes["answers_upstream"] == 1 and "entries_stored" not in changes


def test_a_big_search_leaves_the_loop_free(daemon):
    client = daemon.client()
    for request in client.start_all("add", [{"prompt": f"question in a big scope {i}", "answer": "a"} for i in range(2000)]):
        request.wait()
    assert client.lookup("a question that none of them is")["tier"] == "miss"
    assert daemon.stats()["gauges"]["index_entries"] == 2000


def test_requests_have_numbers_that_grow_and_stand_in_the_log(daemon):
    client = daemon.client()
    numbers = [client.ask(QUESTION)["request"] for _ in range(3)]
    assert numbers == sorted(set(numbers))
    daemon.wait_log(rf"request={numbers[1]}\b")


def test_uptime_and_loop_are_measured(daemon):
    eventually(lambda: daemon.stats()["uptime_s"] >= 1, "a second of uptime")
    assert daemon.stats()["latencies"]["loop"]["count"] > 0


def test_each_namespace_has_its_own_hits_and_misses(client):
    for namespace in ("one", "one", "two"):
        client.ask("What is counted apart?", namespace=namespace)
    client.lookup("What else is counted?", namespace="two")
    counts = client.call("stats")["namespaces"]
    assert counts["one"] == {"hits": 1, "misses": 1, "guards": {}, "reviews": None}
    assert counts["two"] == {"hits": 0, "misses": 2, "guards": {}, "reviews": None}


def test_namespaces_beyond_the_first_1024_are_counted_together(client):
    for number in range(1030):
        client.start("lookup", prompt="Is it there?", namespace=f"space-{number}", mode="exact")
    client.lookup("And the last one?", namespace="space-1029")
    stats = client.call("stats")
    assert len(stats["namespaces"]) == 1024
    assert stats["counters"]["namespaces_not_counted"] == 7
