"""What one call allows: cache use, age, TTL, threshold, mode. Zero is always a value."""
import pytest

from harness.waiting import eventually

QUESTION = "Which port does Redis use?"
WORDING = "What port does Redis listen on?"


def say(upstream, text):
    """From now on the model says this."""
    upstream.when(None, lambda chat: (chat.token(text), chat.finish()))


def entry_key(entry):
    return f"semcache:entry:{entry}"


def make_older(redis, entry, seconds):
    """As if the entry had been stored that much earlier: its age is its lifetime less what Redis says is left."""
    key = entry_key(entry)
    created = int(redis.hash(key)["created_ms"])
    redis.command("HSET", key, "created_ms", created - seconds * 1000)
    redis.command("PEXPIRE", key, redis.command("PTTL", key) - seconds * 1000)


# ---- cache ----

def test_refresh_asks_again_and_overwrites(daemon, upstream):
    client = daemon.client()
    say(upstream, "the first answer")
    first = client.ask(QUESTION)
    say(upstream, "the second answer")
    second = client.ask(QUESTION, cache="refresh")
    assert (second["tier"], second["answer"], second["reason"]) == ("upstream", "the second answer", "refresh")
    assert second["entry"] == first["entry"]
    assert client.ask(QUESTION)["answer"] == "the second answer"
    daemon.restart()
    assert daemon.client().ask(QUESTION)["answer"] == "the second answer"


def test_refresh_does_not_take_another_wordings_answer(client, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.97)
    client.ask(QUESTION)
    assert client.ask(WORDING, cache="refresh")["tier"] == "upstream"
    assert len(upstream.chats) == 2


def test_a_failed_refresh_keeps_what_was_there(client, upstream):
    say(upstream, "the first answer")
    client.ask(QUESTION)
    upstream.when(None, lambda chat: chat.fail(500))
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION, cache="refresh")
    assert client.ask(QUESTION)["answer"] == "the first answer"


def test_no_store_keeps_nothing_new(client, upstream, redis):
    result = client.ask(QUESTION, cache="no_store")
    assert (result["tier"], result["entry"], result["ttl"], result["age"]) == ("upstream", None, 0, 0)
    assert not redis.keys("semcache:entry:*")
    assert client.ask(QUESTION, cache="no_store")["tier"] == "upstream"
    assert len(upstream.chats) == 2


def test_no_store_reads_what_is_there_and_makes_no_alias(client, upstream, redis):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    client.ask(QUESTION)
    assert client.ask(QUESTION, cache="no_store")["tier"] == "memory"
    assert client.ask(WORDING, cache="no_store")["tier"] == "semantic"
    assert client.ask(WORDING, cache="no_store")["tier"] == "semantic"
    assert not redis.keys("semcache:alias:*")


def test_only_never_asks_the_model(client, upstream):
    error = client.fails("get_or_generate", "NOT_FOUND", prompt=QUESTION, cache="only")
    assert error.text
    assert not upstream.chats
    client.ask(QUESTION)
    assert client.ask(QUESTION, cache="only")["tier"] == "memory"
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    assert client.ask(WORDING, cache="only")["tier"] == "semantic"
    assert len(upstream.chats) == 1


# ---- age and TTL ----

def test_max_age_refuses_what_is_older(daemon, upstream, redis):
    entry = daemon.client().ask(QUESTION)["entry"]
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    make_older(redis, entry, 100)
    daemon.restart()
    client = daemon.client()
    assert 100 <= client.lookup(QUESTION, max_age=110)["age"] <= 110
    old = client.lookup(QUESTION, max_age=90)
    assert (old["tier"], old["reason"]) == ("miss", "max_age")
    assert client.lookup(WORDING, max_age=90)["reason"] == "max_age"
    assert client.lookup(WORDING, max_age=110)["tier"] == "semantic"
    assert client.ask(QUESTION, max_age=90)["tier"] == "upstream"
    assert client.ask(QUESTION, max_age=90)["tier"] == "memory"


def test_max_age_0_is_a_value(daemon, redis):
    entry = daemon.client().ask(QUESTION)["entry"]
    make_older(redis, entry, 2)
    daemon.restart()
    client = daemon.client()
    assert client.lookup(QUESTION, max_age=0)["reason"] == "max_age"
    assert client.lookup(QUESTION)["tier"] in ("exact", "memory")


def test_ttl_0_is_answered_and_not_stored(client, upstream, redis):
    result = client.ask(QUESTION, ttl=0)
    assert (result["tier"], result["entry"], result["ttl"]) == ("upstream", None, 0)
    assert not redis.keys("semcache:entry:*")
    assert client.ask(QUESTION, ttl=0)["tier"] == "upstream"


def test_ttl_is_the_entrys_own_and_a_hit_never_extends_it(client, redis, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    result = client.ask(QUESTION, ttl=500)
    other = client.ask("another question, with the default TTL")
    key = entry_key(result["entry"])
    before = redis.command("PTTL", key)
    assert 490_000 < before <= 500_000
    assert 3_590_000 < redis.command("PTTL", entry_key(other["entry"])) <= 3_600_000
    for wanted in ("memory", "memory"):
        assert client.ask(QUESTION, ttl=5000)["tier"] == wanted
    assert client.ask(WORDING, ttl=5000)["tier"] == "semantic"
    assert redis.command("PTTL", key) <= before


def test_an_entry_is_gone_when_its_ttl_has_passed(client, upstream, redis):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    entry = client.ask(QUESTION, ttl=1)["entry"]
    assert client.lookup(QUESTION)["ttl"] <= 1
    eventually(lambda: client.lookup(QUESTION)["tier"] == "miss", "the entry to expire")
    assert client.lookup(WORDING)["tier"] == "miss"
    eventually(lambda: redis.command("EXISTS", entry_key(entry)) == 0, "Redis to expire it")
    assert client.ask(QUESTION)["tier"] == "upstream"
    assert len(upstream.chats) == 2


def test_a_namespaces_ttl_holds_where_the_call_names_none(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__short={"ttl": "60"}, namespace__none={"ttl": "0"}).start()
    client = daemon.client()
    assert client.ask(QUESTION, namespace="short")["ttl"] <= 60
    assert client.ask(QUESTION, namespace="none")["entry"] is None
    assert client.ask(QUESTION, namespace="none", ttl=10)["entry"]
    assert client.ask(QUESTION, namespace="unknown")["ttl"] > 3590


def test_past_its_ttl_an_answer_is_served_only_if_the_model_fails(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"stale_window": "3600"}).start()
    client = daemon.client()
    say(upstream, "an answer that grows old")
    entry = client.ask(QUESTION, ttl=1)["entry"]
    assert redis.command("PTTL", entry_key(entry)) > 3_590_000
    eventually(lambda: client.lookup(QUESTION)["tier"] == "miss", "the answer to be stale")
    upstream.when(None, lambda chat: chat.fail(500))
    stale = client.ask(QUESTION)
    assert (stale["tier"], stale["answer"], stale["ttl"]) == ("stale", "an answer that grows old", 0)
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION, max_age=0)
    say(upstream, "a fresh one")
    assert client.ask(QUESTION)["answer"] == "a fresh one"
    assert client.call("stats")["counters"]["hits_stale"] == 1


def test_an_answer_is_never_stale_after_the_first_chunk(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"stale_window": "3600"}).start()
    client = daemon.client()
    client.ask(QUESTION, ttl=1)
    eventually(lambda: client.lookup(QUESTION)["tier"] == "miss", "the answer to be stale")
    upstream.when(None, lambda chat: None)
    request = client.stream(QUESTION)
    chat = upstream.wait_chat(count=2)
    chat.token("half an")
    request.wait_text("half an")
    chat.cut()
    request.fails("UPSTREAM")


# ---- threshold and mode ----

@pytest.mark.parametrize("similarity, threshold, hit", [
    (0.05, 0, True), (0.05, 0.0, True), (-0.05, 0, False), (-0.05, -1, True), (0.9, 1, False), (0.9005, None, True),
    (0.8995, None, False), (0.8, 0.79, True), (0.8, 0.81, False),
])
def test_the_threshold_in_force_is_the_calls_or_else_090(client, upstream, similarity, threshold, hit):
    upstream.vectors.near(WORDING, QUESTION, similarity)
    client.ask(QUESTION)
    result = client.lookup(WORDING, threshold=threshold)
    assert result["tier"] == ("semantic" if hit else "miss")
    assert result["similarity" if hit else "best_similarity"] == pytest.approx(similarity, abs=1e-5)


def test_a_threshold_under_the_namespaces_least_is_invalid(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__strict={"threshold_min": "0.85"}).start()
    client = daemon.client()
    for threshold in (0.84, 0, -1):
        error = client.fails("get_or_generate", "INVALID", prompt=QUESTION, namespace="strict", threshold=threshold)
        assert error.keys["field"] == "threshold" and float(error.keys["limit"]) == 0.85
    assert client.ask(QUESTION, namespace="strict", threshold=0.85)["tier"] == "upstream"
    assert client.ask(QUESTION, threshold=0.1)["tier"] == "upstream"


def test_a_namespace_has_its_own_threshold(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__loose={"threshold": "0.5"}).start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.6)
    for namespace, tier in (("loose", "semantic"), ("other", "upstream")):
        client.ask(QUESTION, namespace=namespace)
        assert client.ask(WORDING, namespace=namespace)["tier"] == tier


def test_mode_exact_of_a_call_needs_no_embedding(client, upstream):
    result = client.ask(QUESTION, mode="exact")
    assert (result["tier"], result["reason"], result["best_similarity"]) == ("upstream", "exact_only", 0.0)
    assert not upstream.embeddings
    assert client.ask(QUESTION, mode="exact")["tier"] == "memory"


def test_a_namespace_in_mode_exact_never_compares_meaning(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__exact={"mode": "exact"}).start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 1.0)
    client.ask(QUESTION, namespace="exact")
    assert client.ask(WORDING, namespace="exact")["tier"] == "upstream"
    assert not upstream.embeddings


def test_a_texts_length_limits_what_is_compared(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, embedder={"max_bytes": "100"}).start()
    client = daemon.client()
    result = client.ask("x" * 101)
    assert (result["tier"], result["reason"]) == ("upstream", "exact_only")
    assert client.ask("x" * 101)["tier"] == "memory"
    assert not upstream.embeddings
    client.ask("y" * 100)
    assert upstream.embedded_texts == ["y" * 100]


# ---- the caller's own deadline ----

def test_a_caller_that_waits_no_longer_gets_timeout_and_the_answer_is_kept(client, upstream):
    upstream.when(None, lambda chat: None)
    request = client.start_ask(QUESTION, timeout_ms=150)
    chat = upstream.wait_chat()
    request.fails("TIMEOUT")
    chat.token("late, but paid for").finish()
    eventually(lambda: client.lookup(QUESTION)["tier"] == "memory", "the answer to be kept")
    assert client.lookup(QUESTION)["answer"] == "late, but paid for"


def test_timeout_0_is_a_value(client, upstream):
    upstream.when(None, lambda chat: None)
    client.fails("get_or_generate", "TIMEOUT", prompt=QUESTION, timeout_ms=0)


def test_the_deadline_of_one_rider_does_not_end_the_others(client, upstream):
    upstream.when(None, lambda chat: None)
    patient = client.start_ask(QUESTION)
    hasty = client.start_ask(QUESTION, timeout_ms=100)
    chat = upstream.wait_chat()
    hasty.fails("TIMEOUT")
    chat.token("for those who wait").finish()
    assert patient.wait()["answer"] == "for those who wait"
    assert len(upstream.chats) == 1


# ---- tags ----

def test_tags_of_all_riders_are_kept(daemon, client, upstream):
    upstream.when(None, lambda chat: None)
    first = client.start_ask(QUESTION, tags=["a", "b"])
    second = client.start_ask(QUESTION, tags=["b", "c"])
    client.call("ping")
    upstream.wait_chat().token("tagged").finish()
    entry = first.wait()["entry"]
    second.wait()
    daemon.settle()
    assert sorted(client.call("show", entry=entry)["tags"]) == ["a", "b", "c"]
