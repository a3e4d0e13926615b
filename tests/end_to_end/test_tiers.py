"""Where an answer comes from: the model, memory, Redis, another wording, another caller's call."""
import pytest

QUESTION = "What is a Unix domain socket?"
WORDING = "Explain Unix domain sockets to me"
ANSWER = "The answer to <What is a Unix domain socket?> is 29."


def assert_shape(result):
    """What every result has, by wire.md; a key that is absent is the same as nil."""
    assert isinstance(result["request"], int)
    assert result["tier"] in ("memory", "exact", "semantic", "coalesced", "stale", "upstream", "miss")
    assert result.get("similarity") is None or isinstance(result["similarity"], float)
    assert result.get("entry") is None or len(bytes.fromhex(result["entry"])) == 32
    assert isinstance(result["age"], int) and isinstance(result["ttl"], int)
    assert isinstance(result["best_similarity"], float)
    assert set(result["saved"]) == {"tokens", "usd"} and isinstance(result["saved"]["usd"], float)
    assert set(result["timing"]) == {"total_ms", "embedding_ms", "search_ms", "upstream_ms"}
    assert all(isinstance(value, float) and value >= 0 for value in result["timing"].values())
    for key in ("original_query", "best_query", "reason"):
        assert result.get(key) is None or isinstance(result[key], str)


def test_the_first_answer_comes_from_the_model(client, upstream):
    result = client.ask(QUESTION)
    assert_shape(result)
    assert result["tier"] == "upstream"
    assert result["answer"] == ANSWER
    assert result["finish_reason"] == "stop"
    assert result["model"] == "test-model"
    assert result["similarity"] is None and result["original_query"] is None
    assert result["entry"] and result["age"] == 0 and 3590 <= result["ttl"] <= 3600
    assert result["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert result["saved"] == {"tokens": 0, "usd": 0.0}
    assert (result["best_similarity"], result["best_query"], result["reason"]) == (0.0, None, "no_candidate")
    assert upstream.chats[0].body["messages"] == [{"role": "user", "content": QUESTION}]
    assert upstream.chats[0].body["model"] == "test-model"
    assert upstream.chats[0].body["stream"] is True


def test_the_second_comes_from_memory_and_costs_nothing(client, upstream):
    first = client.ask(QUESTION)
    second = client.ask(QUESTION)
    assert_shape(second)
    assert second["tier"] == "memory"
    assert second["answer"] == ANSWER and second["entry"] == first["entry"]
    assert second["similarity"] == 1.0 and second["original_query"] == QUESTION
    assert second["saved"]["tokens"] == 18 and second["usage"] == first["usage"]
    assert second["request"] > first["request"]
    assert len(upstream.chats) == 1 and upstream.embedded_texts == [QUESTION]


def test_after_a_restart_it_comes_from_redis_and_then_from_memory(daemon, upstream):
    first = daemon.client().ask(QUESTION)
    daemon.restart()
    client = daemon.client()
    second = client.ask(QUESTION)
    assert_shape(second)
    assert (second["tier"], second["similarity"], second["original_query"]) == ("exact", 1.0, QUESTION)
    assert second["answer"] == ANSWER and second["entry"] == first["entry"] and second["usage"] == first["usage"]
    assert client.ask(QUESTION)["tier"] == "memory"
    assert len(upstream.chats) == 1 and upstream.embedded_texts == [QUESTION]


def test_another_wording_is_a_semantic_hit(client, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    first = client.ask(QUESTION)
    result = client.ask(WORDING)
    assert_shape(result)
    assert result["tier"] == "semantic"
    assert result["similarity"] == pytest.approx(0.95, abs=1e-5)
    assert result["original_query"] == QUESTION
    assert result["answer"] == ANSWER and result["entry"] == first["entry"]
    assert result["saved"]["tokens"] == 18
    assert len(upstream.chats) == 1


def test_a_miss_names_the_nearest_question_and_why_it_was_not_served(client, upstream):
    upstream.vectors.near("What is a TCP socket?", QUESTION, 0.85)
    client.ask(QUESTION)
    result = client.ask("What is a TCP socket?")
    assert result["tier"] == "upstream"
    assert result["best_similarity"] == pytest.approx(0.85, abs=1e-5)
    assert result["best_query"] == QUESTION and result["reason"] == "below_threshold"


def test_after_a_restart_another_wording_is_found_by_the_vectors_in_redis(daemon, upstream):
    daemon.client().ask(QUESTION)
    daemon.restart()
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    result = daemon.client().ask(WORDING)
    assert (result["tier"], result["original_query"]) == ("semantic", QUESTION)
    assert len(upstream.chats) == 1


def test_a_wording_once_accepted_is_answered_by_its_alias(daemon, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    client = daemon.client()
    client.ask(QUESTION)
    client.ask(WORDING)
    again = client.ask(WORDING)
    assert again["tier"] == "memory"
    assert again["similarity"] == pytest.approx(0.95, abs=1e-5) and again["original_query"] == QUESTION
    daemon.restart()
    embedded = len(upstream.embedded_texts)
    result = daemon.client().ask(WORDING)
    assert result["tier"] == "exact"
    assert result["similarity"] == pytest.approx(0.95, abs=1e-5) and result["original_query"] == QUESTION
    assert result["answer"] == ANSWER
    assert len(upstream.embedded_texts) == embedded and len(upstream.chats) == 1


@pytest.mark.parametrize("restart", [False, True])
def test_an_alias_at_072_is_never_served_to_a_caller_at_090(daemon, upstream, restart):
    upstream.vectors.near(WORDING, QUESTION, 0.72)
    client = daemon.client()
    client.ask(QUESTION)
    assert client.ask(WORDING, threshold=0.7)["tier"] == "semantic"
    assert client.ask(WORDING, threshold=0.7)["tier"] == "memory"
    if restart:
        daemon.restart()
        client = daemon.client()
    miss = client.lookup(WORDING)
    assert (miss["tier"], miss["reason"]) == ("miss", "below_threshold")
    assert miss["best_similarity"] == pytest.approx(0.72, abs=1e-5) and miss["best_query"] == QUESTION
    own = client.ask(WORDING)
    assert own["tier"] == "upstream" and own["answer"] != ANSWER
    assert client.ask(WORDING)["similarity"] == 1.0
    assert len(upstream.chats) == 2


def test_an_alias_is_never_served_in_mode_exact(client, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    client.ask(QUESTION)
    client.ask(WORDING)
    assert client.lookup(WORDING)["tier"] == "memory"
    assert client.lookup(WORDING, mode="exact")["tier"] == "miss"
    assert client.ask(WORDING, mode="exact")["tier"] == "upstream"


def test_an_alias_lives_no_longer_than_3600_s_and_than_its_entry(client, upstream, redis):
    upstream.vectors.near("long lived wording", "a long lived question", 0.95)
    upstream.vectors.near("short lived wording", "a short lived question", 0.95)
    client.ask("a long lived question", ttl=86400)
    client.ask("long lived wording")
    client.ask("a short lived question", ttl=100)
    client.ask("short lived wording")
    client.call("stats")
    aliases = [key for key in redis.keys("semcache:alias:*")]
    rests = sorted(redis.command("PTTL", key) for key in aliases)
    assert len(rests) == 2
    assert 0 < rests[0] <= 100_000 and 3_000_000 < rests[1] <= 3_600_000


def test_an_alias_dies_with_its_entry(client, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    entry = client.ask(QUESTION)["entry"]
    client.ask(WORDING)
    client.call("invalidate", entry=entry)
    assert client.lookup(WORDING)["tier"] == "miss"
    assert client.lookup(QUESTION)["tier"] == "miss"


def test_an_alias_to_an_older_answer_is_dead_once_the_entry_is_overwritten(daemon, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    client = daemon.client()
    client.ask(QUESTION)
    client.ask(WORDING)
    upstream.when(None, lambda chat: (chat.token("a newer answer"), chat.finish()))
    assert client.ask(QUESTION, cache="refresh")["answer"] == "a newer answer"
    assert client.ask(WORDING)["answer"] == "a newer answer"


def test_a_lookup_writes_nothing_but_the_embedding_cache(client, upstream, redis):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    client.ask(QUESTION)

    def stored():
        return {key: redis.hash(key) for key in redis.keys() if b":entry:" in key or b":alias:" in key}
    before = stored()
    found = client.lookup(WORDING)
    assert_shape(found)
    assert (found["tier"], found["original_query"]) == ("semantic", QUESTION)
    missed = client.lookup("something else entirely")
    assert_shape(missed)
    assert missed["tier"] == "miss" and "answer" not in missed
    assert stored() == before
    assert client.call("stats")["counters"]["aliases_stored"] == 0
    assert len(upstream.chats) == 1


def test_embeddings_are_kept_in_redis(daemon, upstream, redis):
    client = daemon.client()
    client.lookup("embedded only once in all daemons")
    daemon.restart()
    daemon.client().lookup("embedded only once in all daemons")
    assert upstream.embedded_texts == ["embedded only once in all daemons"]
    keys = redis.keys("semcache:vector:*")
    assert len(keys) == 1
    assert 86_000_000 < redis.command("PTTL", keys[0]) <= 86_400_000


def test_without_an_embedder_answers_are_exact_only(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, embedder={"url": None, "unix_socket": None, "model": None,
                                                                    "key_file": None}).start()
    client = daemon.client()
    assert client.ask(QUESTION)["tier"] == "upstream"
    assert client.ask(QUESTION)["tier"] == "memory"
    assert client.ask(WORDING)["tier"] == "upstream"
    assert not upstream.embeddings


def test_without_redis_answers_are_kept_in_memory(make_daemon, upstream):
    daemon = make_daemon(upstream=upstream).start()
    client = daemon.client()
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    assert client.ask(QUESTION)["tier"] == "upstream"
    assert client.ask(QUESTION)["tier"] == "memory"
    assert client.ask(WORDING)["tier"] == "semantic"
    assert client.ask(WORDING)["tier"] == "memory"
    daemon.restart()
    assert daemon.client().ask(QUESTION)["tier"] == "upstream"


def test_memory_is_bounded_and_what_left_it_still_comes_from_redis(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, memory={"max_bytes": "256KiB"}).start()
    client = daemon.client()
    upstream.when(None, lambda chat: (chat.token("x" * 8192), chat.finish()))
    for request in client.start_all("get_or_generate", [{"prompt": f"question number {i}"} for i in range(100)]):
        request.wait()
    stats = client.call("stats")["counters"]
    assert stats["memory_evictions"] > 0
    tiers = [client.lookup(f"question number {i}")["tier"] for i in range(100)]
    assert set(tiers) == {"memory", "exact"}
    assert len(upstream.chats) == 100
