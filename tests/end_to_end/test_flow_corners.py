"""Where the paths of questions cross: what is added, removed or refreshed meanwhile, who is served, and what is kept."""
import pytest

from harness.waiting import eventually
from harness.wire import RpcError
from upstream import holds

QUESTION = "Which way does the river flow?"
WORDING = "In which direction does the river flow?"


def hold_chats(upstream):
    upstream.when(None, holds)


def count(client, name):
    return client.call("stats")["counters"][name]


def outcome(request):
    """The tier of the result, or the error's code."""
    try:
        return request.wait()["tier"]
    except RpcError as error:
        return error.code


# ---- add ----

def test_an_added_answer_outlives_a_call_that_came_while_it_was_being_added(daemon, client, upstream, redis):
    upstream.when_embedding(QUESTION, holds)
    hold_chats(upstream)
    added = client.start("add", prompt=QUESTION, answer="the operator's answer")
    embedding = upstream.wait_embedding(QUESTION)
    asked = client.start_ask(QUESTION, mode="exact")
    chat = upstream.wait_chat(QUESTION)
    embedding.answer()
    assert added.wait()["stored"] == "redis"
    chat.token("the model's answer").finish()
    assert asked.answer == "the model's answer"
    assert client.ask(QUESTION)["answer"] == "the operator's answer"
    daemon.settle()
    assert redis.hash(f"semcache:entry:{added.wait()['entry']}")["answer"] == b"the operator's answer"


@pytest.mark.parametrize("removal", [("flush", {}), ("invalidate", {"question": QUESTION}),
                                     ("invalidate", {"namespace": "default"})])
def test_what_is_added_while_older_things_are_removed_is_there_if_it_says_so(daemon, client, upstream, removal):
    client.ask("something else", mode="exact")
    upstream.when_embedding(QUESTION, holds)
    added = client.start("add", prompt=QUESTION, answer="the operator's answer")
    embedding = upstream.wait_embedding(QUESTION)
    client.call(removal[0], **removal[1])
    embedding.answer()
    assert added.wait()["stored"] == "redis"
    assert client.lookup(QUESTION)["answer"] == "the operator's answer"
    daemon.restart()
    assert daemon.client().lookup(QUESTION)["answer"] == "the operator's answer"


def test_what_was_added_in_vain_is_not_served(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("redis", write_queue_bytes="0").start()
    client = daemon.client()
    error = client.fails("add", "TOO_LARGE", prompt=QUESTION, answer="not kept")
    assert error.text
    assert client.lookup(QUESTION)["tier"] == "miss"


# ---- only ----

def test_only_finds_what_is_stored_while_a_refresh_is_in_the_air(daemon, upstream):
    client = daemon.client()
    client.ask(QUESTION)
    daemon.settle()
    daemon.restart()
    client = daemon.client()
    hold_chats(upstream)
    refreshing = client.stream(QUESTION, cache="refresh")
    chat = upstream.wait_chat(QUESTION, 2)
    assert client.ask(QUESTION, cache="only")["tier"] in ("exact", "memory")
    chat.token("fresh").finish()
    assert refreshing.answer == "fresh"


def test_only_is_served_from_what_is_stored_when_the_models_call_of_others_fails(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("memory", max_bytes="0").start()
    client = daemon.client()
    client.ask(QUESTION)
    daemon.settle()
    hold_chats(upstream)
    refreshing = client.stream(QUESTION, cache="refresh")
    chat = upstream.wait_chat(QUESTION, 2)
    assert client.ask(QUESTION, cache="only")["tier"] == "exact"
    chat.fail(500)
    refreshing.fails("UPSTREAM")


# ---- what is kept follows from those for whom the model is asked ----

def served_and_left(client, upstream, opener, other):
    """The opener is served from another wording's answer; the other one has the model asked. Returns (other, chat)."""
    upstream.vectors.near(WORDING, QUESTION, 0.8)
    client.ask(QUESTION)
    hold_chats(upstream)
    first, second = client.start_all("get_or_generate", [{"prompt": WORDING, "threshold": 0.7, **opener},
                                                         {"prompt": WORDING, **other}])
    chat = upstream.wait_chat(WORDING)
    assert first.wait()["tier"] == "semantic"
    return second, chat


def test_the_ttl_is_that_of_the_call_for_which_the_model_is_asked(client, upstream):
    second, chat = served_and_left(client, upstream, {"ttl": 0}, {"ttl": 500})
    chat.token("its own").finish()
    result = second.wait()
    assert result["tier"] == "upstream" and result["entry"] and 0 < result["ttl"] <= 500


def test_one_that_was_served_from_what_is_stored_does_not_have_another_ones_answer_kept(client, upstream, redis):
    second, chat = served_and_left(client, upstream, {}, {"cache": "no_store"})
    chat.token("its own").finish()
    result = second.wait()
    assert (result["tier"], result["entry"]) == ("upstream", None)
    assert len(redis.keys("semcache:entry:*")) == 1


# ---- removed in the air ----

@pytest.mark.parametrize("removal", [("flush", {}), ("invalidate", {"question": QUESTION}),
                                     ("invalidate", {"tag": "river"})])
def test_a_call_that_nobody_waits_for_ends_when_its_answer_may_not_be_kept_any_more(daemon, client, upstream, removal):
    hold_chats(upstream)
    request = client.start_ask(QUESTION, tags=["river"])
    chat = upstream.wait_chat(QUESTION)
    request.cancel()
    request.fails("CANCELLED")
    eventually(lambda: daemon.counters()["flights_detached"] == 1, "the flight to be detached")
    client.call(removal[0], **removal[1])
    chat.wait_closed_by_client()
    daemon.wait_idle()


def test_an_add_ends_a_call_for_the_same_that_nobody_waits_for(daemon, client, upstream):
    hold_chats(upstream)
    request = client.start_ask(QUESTION)
    chat = upstream.wait_chat(QUESTION)
    request.cancel()
    request.fails("CANCELLED")
    eventually(lambda: daemon.counters()["flights_detached"] == 1, "the flight to be detached")
    client.add(QUESTION, "the operator's answer")
    chat.wait_closed_by_client()
    assert client.ask(QUESTION)["answer"] == "the operator's answer"


def test_a_wording_that_was_removed_while_its_answer_was_in_the_air_gets_no_alias(daemon, client, upstream, redis):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    hold_chats(upstream)
    first = client.start_ask(QUESTION)
    chat = upstream.wait_chat(QUESTION)
    joined = client.start_ask(WORDING)
    eventually(lambda: count(client, "flights_joined_by_meaning") == 1, "it to join")
    client.call("invalidate", question=WORDING)
    chat.token("shared").finish()
    assert (first.answer, joined.answer) == ("shared", "shared")
    daemon.settle()
    assert not redis.keys("semcache:alias:*")


# ---- a late rider and a model that fails ----

def test_a_late_rider_whose_policy_fits_is_served_although_the_model_fails(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("memory", max_bytes="0").configure(
        "redis", timeout_ms="5000").start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.8)
    client.ask(QUESTION)
    hold_chats(upstream)
    strict = client.start_ask(WORDING)
    chat = upstream.wait_chat(WORDING)
    daemon.settle()
    redis.freeze()
    late, only = client.start_all("get_or_generate", [{"prompt": WORDING, "threshold": 0.7},
                                                      {"prompt": WORDING, "cache": "only"}])
    client.call("ping")
    chat.fail(500)
    strict.fails("UPSTREAM")
    redis.thaw()
    assert late.wait()["tier"] == "semantic"
    only.fails("NOT_FOUND")


def test_one_that_joined_another_wording_has_its_own_stale_answer_if_the_model_fails(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"stale_window": "3600"}).start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    client.ask(WORDING, ttl=1, mode="exact")
    eventually(lambda: client.lookup(WORDING)["tier"] == "miss", "its answer to be stale")
    hold_chats(upstream)
    first = client.start_ask(QUESTION)
    chat = upstream.wait_chat(QUESTION)
    joined, choosy = client.start_all("get_or_generate", [{"prompt": WORDING}, {"prompt": WORDING, "max_age": 0}])
    eventually(lambda: count(client, "flights_joined_by_meaning") == 1, "it to join")
    chat.fail(500)
    for request in (first, choosy):
        request.fails("UPSTREAM")
    assert (joined.wait()["tier"], joined.answer) == ("stale", f"The answer to <{WORDING}> is {len(WORDING)}.")


# ---- Redis comes back ----

def test_what_waited_in_the_queue_is_found_by_meaning_after_redis_came_back(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    client = daemon.client()
    client.ask("before")
    redis.settle()
    redis.kill()
    daemon.wait_part("redis", "down")
    texts = [f"paid for meanwhile {i}" for i in range(400)]
    for request in client.start_all("get_or_generate", [{"prompt": text} for text in texts]):
        request.wait()
    since = len(daemon.lines)
    redis.start()
    daemon.wait_part("redis", "up")
    daemon.wait_log(r"\bloaded ", since=since)
    daemon.settle()
    for text in texts:
        upstream.vectors.near(f"again: {text}", text, 0.95)
    assert [text for text in texts if client.lookup(f"again: {text}")["tier"] != "semantic"] == []


def test_an_answer_in_the_air_when_redis_is_found_first_is_kept(make_daemon, redis, upstream):
    redis.freeze()
    daemon = make_daemon(redis=redis, upstream=upstream).configure("redis", timeout_ms="300").start(follows=False)
    client = daemon.client()
    hold_chats(upstream)
    request = client.start_ask(QUESTION)
    chat = upstream.wait_chat(QUESTION)
    redis.thaw()
    daemon.wait_log(r"\bfollowing_redis")
    daemon.wait_log(r"\bloaded ")
    chat.token("paid for").finish()
    assert request.wait()["entry"]
    daemon.settle()
    assert len(redis.keys("semcache:entry:*")) == 1


@pytest.mark.parametrize("selector", ["entry", "question", "tag", "namespace"])
def test_what_was_removed_while_redis_was_away_is_not_served_when_it_is_back(make_daemon, redis, upstream, selector):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("memory", max_bytes="0").configure(
        "redis", timeout_ms="300").start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    entry = client.ask(QUESTION, tags=["river"])["entry"]
    daemon.settle()
    redis.freeze()
    selectors = {"entry": entry, "question": QUESTION, "tag": "river", "namespace": "default"}
    removed = client.call("invalidate", **{selector: selectors[selector]})
    assert removed["queued"]
    redis.thaw()
    found = client.start_all("lookup", [{"prompt": text} for text in (QUESTION, WORDING) * 50])
    assert {request.wait()["tier"] for request in found} == {"miss"}
    daemon.wait_part("redis", "up")
    found = client.start_all("lookup", [{"prompt": text} for text in (QUESTION, WORDING) * 50])
    assert {request.wait()["tier"] for request in found} == {"miss"}


# ---- the end of the daemon ----

def test_a_daemon_ends_in_order_with_everything_in_the_air(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"drain_timeout_ms": "300"}).configure(
        "redis", timeout_ms="5000").configure("memory", max_bytes="0").start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.8)
    client.ask(QUESTION)
    client.ask("seen before", mode="exact")
    daemon.settle()
    hold_chats(upstream)
    upstream.when_embedding("no vector", holds)
    requests = [client.stream("being answered"), client.start_ask("no vector yet"), client.stream(WORDING)]
    upstream.vectors.near("joins it", "being answered", 0.95)
    upstream.wait_chat("being answered").token("half ")
    requests[0].wait_text("half ")
    upstream.wait_chat(WORDING)
    requests.append(client.start_ask("joins it"))
    eventually(lambda: count(client, "flights_joined_by_meaning") == 1, "it to join")
    left = client.start_ask("nobody waits for this")
    upstream.wait_chat("nobody waits for this")
    left.cancel()
    upstream.wait_embedding("no vector")
    daemon.settle()
    redis.freeze()
    requests += [client.start_ask("seen before"), client.start_ask(WORDING, threshold=0.7),
                 client.start("add", prompt="added", answer="an answer"), client.start("invalidate", tag="some"),
                 client.start("list"), client.start("show", entry="0" * 64), client.start_ask("seen before", cache="only")]
    client.call("ping")
    daemon.terminate()
    for request in requests:
        request.fails()
    assert daemon.wait_exit() == 0


def test_riders_that_leave_while_a_failed_call_waits_for_a_candidate(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("memory", max_bytes="0").configure(
        "redis", timeout_ms="5000").start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.8)
    client.ask(QUESTION)
    hold_chats(upstream)
    strict = client.start_ask(WORDING)
    chat = upstream.wait_chat(WORDING)
    daemon.settle()
    redis.freeze()
    late, later = client.start_all("get_or_generate", [{"prompt": WORDING, "threshold": 0.7}] * 2)
    client.call("ping")
    chat.fail(500)
    strict.fails("UPSTREAM")
    late.cancel()
    late.fails("CANCELLED")
    again = client.start_ask(WORDING, mode="exact")
    later.cancel()
    later.fails("CANCELLED")
    redis.thaw()
    upstream.wait_chat(WORDING, 2).token("asked again").finish()
    assert again.answer == "asked again"


# ---- without Redis ----

def test_without_redis_wordings_join_are_remembered_and_removed(make_daemon, upstream):
    daemon = make_daemon(upstream=upstream).start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    hold_chats(upstream)
    first = client.start_ask(QUESTION, tags=["river"])
    chat = upstream.wait_chat(QUESTION)
    joined = client.start_ask(WORDING, tags=["wording"])
    eventually(lambda: count(client, "flights_joined_by_meaning") == 1, "it to join")
    chat.token("shared").finish()
    assert (first.answer, joined.answer) == ("shared", "shared")
    assert client.lookup(WORDING)["tier"] == "memory"
    assert client.call("invalidate", tag="wording")["entries"] == 1
    assert [client.lookup(text)["tier"] for text in (QUESTION, WORDING)] == ["miss", "miss"]


def test_without_redis_what_is_too_large_for_memory_is_answered_and_not_kept(make_daemon, upstream):
    daemon = make_daemon(upstream=upstream).configure("memory", max_bytes="65536").start()
    client = daemon.client()
    client.fails("add", "TOO_LARGE", prompt=QUESTION, answer="x" * 50000)
    upstream.when(None, lambda chat: chat.token("y" * 50000).finish())
    result = client.ask(QUESTION)
    assert (len(result["answer"]), result["entry"], result["ttl"]) == (50000, None, 0)
    assert daemon.stats()["gauges"]["index_entries"] == 0
    assert client.lookup(QUESTION)["tier"] == "miss"


# ---- many policies on one flight ----

def test_every_policy_on_one_flight_gets_what_it_allows(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.8)
    client.ask(QUESTION)
    eventually(lambda: client.lookup(QUESTION, max_age=0)["tier"] == "miss", "the answer to be a millisecond old")
    upstream.when_embedding(WORDING, holds)
    hold_chats(upstream)
    opener = client.start_ask(WORDING, cache="only", threshold=0.7)
    embedding = upstream.wait_embedding(WORDING)
    policies = [{"cache": "refresh"}, {"mode": "exact"}, {"cache": "no_store", "threshold": 0.7},
                {"threshold": 0.7, "max_age": 0}, {"cache": "only"}, {"cache": "only", "mode": "exact"}, {"threshold": 0.7},
                {"cache": "refresh", "threshold": 0.1}]
    riders = client.start_all("get_or_generate", [{"prompt": WORDING, **policy} for policy in policies])
    client.call("ping")
    embedding.answer()
    upstream.wait_chat(WORDING).token("its own").finish()
    assert [outcome(rider) for rider in [opener, *riders]] == \
        ["semantic", "upstream", "coalesced", "semantic", "coalesced", "NOT_FOUND", "NOT_FOUND", "semantic", "coalesced"]
    assert len(upstream.chats) == 2


# ---- generations ----

def test_a_generation_that_went_away_leaves_what_is_in_the_air_and_older_dead(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    client = daemon.client()
    hold_chats(upstream)
    first = client.start_ask(QUESTION)
    chat = upstream.wait_chat(QUESTION)
    redis.command("DEL", "semcache:generation:default")
    second = client.start_ask("another one")
    other = upstream.wait_chat("another one")
    chat.token("older").finish()
    other.token("younger").finish()
    assert (first.wait()["entry"], second.answer) == (None, "younger")
    daemon.settle()
    assert client.lookup(QUESTION)["tier"] == "miss"
    assert client.lookup("another one")["tier"] == "memory"
    daemon.restart()
    assert daemon.client().lookup("another one")["tier"] == "exact"


def test_a_reload_that_takes_the_namespace_away_while_it_is_asked(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__short={"ttl": "60", "alias_ttl": "30"}).start()
    client = daemon.client()
    hold_chats(upstream)
    request = client.start_ask(QUESTION, namespace="short")
    chat = upstream.wait_chat(QUESTION)
    del daemon.config["namespace short"]
    daemon.write_config()
    client.call("reload")
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    joined = client.start_ask(WORDING, namespace="short")
    eventually(lambda: count(client, "flights_joined_by_meaning") == 1, "it to join")
    chat.token("kept").finish()
    assert 0 < request.wait()["ttl"] <= 60
    assert joined.answer == "kept"


def test_an_embedding_that_comes_after_a_flush_is_not_kept(daemon, client, upstream, redis):
    upstream.when_embedding(QUESTION, holds)
    asked = client.start_ask(QUESTION)
    embedding = upstream.wait_embedding(QUESTION)
    client.call("flush")
    embedding.answer()
    assert asked.wait()["tier"] == "upstream"
    daemon.settle()
    assert {key.split(b":")[1] for key in redis.keys()} <= {b"generation", b"log"}
