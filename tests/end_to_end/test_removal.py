"""add, show, list, invalidate and flush: what is removed is gone from memory, index and Redis, with its aliases and vectors."""
import pytest

QUESTION = "Where is the office?"
WORDING = "What is the address of the office?"
OTHER = "Who is the director?"


@pytest.fixture(autouse=True)
def near(upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.96)


def ours(redis):
    """What is stored but for the names that stay."""
    return [key for key in redis.keys() if key.split(b":")[1] in (b"entry", b"alias", b"vector", b"aliases", b"question",
                                                                  b"tag", b"directory")]


def assert_gone(client, redis, *questions):
    for question in questions:
        miss = client.lookup(question)
        assert (miss["tier"], miss["best_query"]) == ("miss", None)
    assert not redis.keys("semcache:entry:*") and not redis.keys("semcache:alias:*")


def test_add_stores_an_answer_for_exact_and_semantic_hits(daemon, client, upstream):
    added = client.add(QUESTION, "Main street 1", ttl=100, tags=["office"])
    assert added["stored"] == "redis" and len(added["entry"]) == 64
    hit = client.ask(QUESTION)
    assert (hit["tier"], hit["answer"], hit["entry"]) == ("memory", "Main street 1", added["entry"])
    assert hit["ttl"] <= 100 and hit["saved"]["tokens"] == 0
    assert client.ask(WORDING)["tier"] == "semantic"
    daemon.restart()
    assert daemon.client().ask(QUESTION)["answer"] == "Main street 1"
    assert not upstream.chats


def test_add_overwrites(client, upstream):
    client.ask(QUESTION)
    client.add(QUESTION, "Main street 2")
    assert client.ask(QUESTION)["answer"] == "Main street 2"
    client.add(QUESTION, "Main street 3")
    assert client.ask(QUESTION)["answer"] == "Main street 3"


def test_add_takes_the_whole_question(client):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    client.call("add", messages=messages, answer="Main street", model="other-model", parameters={"temperature": 0.5},
                namespace="n")
    same = {"messages": messages, "model": "other-model", "parameters": {"temperature": 0.5}, "namespace": "n"}
    assert client.call("lookup", **same)["tier"] == "memory"
    assert client.call("lookup", messages=messages)["tier"] == "miss"


def test_add_with_ttl_0_is_invalid(client):
    assert client.fails("add", "INVALID", prompt=QUESTION, answer="x", ttl=0).keys["field"] == "ttl"


def test_add_without_a_meaning_is_found_exactly(client, upstream):
    upstream.when_embedding(None, lambda embedding: embedding.fail(500))
    client.add(QUESTION, "Main street")
    assert client.ask(QUESTION)["tier"] == "memory"
    assert client.lookup(WORDING)["tier"] == "miss"


def test_add_while_redis_is_away_is_queued(daemon, client, redis):
    client.call("ping")
    redis.kill()
    daemon.wait_part("redis", "down")
    assert client.add(QUESTION, "Main street")["stored"] == "queued"
    assert client.ask(QUESTION)["tier"] == "memory"


def test_add_without_redis_is_in_memory(make_daemon, upstream):
    client = make_daemon(upstream=upstream).start().client()
    assert client.add(QUESTION, "Main street")["stored"] == "memory"


def test_show_tells_everything_of_an_entry(daemon, client):
    entry = client.ask(QUESTION, tags=["office", "b"], ttl=500)["entry"]
    client.ask(WORDING)
    daemon.settle()
    shown = client.call("show", entry=entry)
    assert shown["entry"] == entry and shown["namespace"] == "default"
    assert shown["question"] == QUESTION and shown["answer"].startswith("The answer to <Where")
    assert (shown["model"], shown["finish_reason"]) == ("test-model", "stop")
    assert shown["usage"]["total_tokens"] == 18 and sorted(shown["tags"]) == ["b", "office"]
    assert 490 <= shown["ttl"] <= 500 and shown["age"] <= 5 and shown["scope"]
    [alias] = shown["aliases"]
    assert alias["similarity"] == pytest.approx(0.96, abs=1e-5) and alias["kind"] == "promoted" and len(alias["alias"]) == 64


def test_show_of_what_is_not_there(daemon, client):
    entry = client.ask(QUESTION)["entry"]
    daemon.settle()
    client.fails("show", "NOT_FOUND", entry="0" * 64)
    client.fails("show", "NOT_FOUND", entry=entry, namespace="other")
    assert client.fails("show", "INVALID", entry="xyz").keys["field"] == "entry"
    assert client.fails("show", "INVALID").keys["field"] == "entry"


@pytest.mark.parametrize("with_redis", [True, False])
def test_list_gives_every_entry_once_page_by_page(make_daemon, redis, upstream, with_redis):
    client = make_daemon(redis=redis if with_redis else None, upstream=upstream).start().client()
    for request in client.start_all("add", [{"prompt": f"listed question {i}", "answer": "a", "tags": [f"t{i}"], "ttl": 1000 + i}
                                            for i in range(25)]):
        request.wait()
    client.add("in another namespace", "a", namespace="other")
    seen, after, pages = [], None, 0
    while True:
        page = client.call("list", limit=10, after=after)
        assert len(page["entries"]) <= 10
        seen += page["entries"]
        pages += 1
        after = page["next"]
        if after is None:
            break
        assert pages < 10
    assert sorted(entry["question"] for entry in seen) == sorted(f"listed question {i}" for i in range(25))
    first = next(entry for entry in seen if entry["question"] == "listed question 3")
    assert first["tags"] == ["t3"] and first["ttl"] <= 1003 and first["model"] == "test-model" and len(first["entry"]) == 64
    assert [entry["question"] for entry in client.call("list", namespace="other")["entries"]] == ["in another namespace"]
    assert client.call("list", namespace="empty") == {"entries": [], "next": None}


def test_invalidate_by_entry(client, redis):
    entry = client.ask(QUESTION)["entry"]
    client.ask(WORDING)
    kept = client.ask(OTHER)["entry"]
    removed = client.call("invalidate", entry=entry)
    assert (removed["entries"], removed["aliases"], removed["queued"]) == (1, 1, False)
    assert removed["vectors"] >= 1
    assert client.lookup(QUESTION)["tier"] == "miss" and client.lookup(WORDING)["tier"] == "miss"
    assert client.lookup(OTHER)["entry"] == kept
    assert len(redis.keys("semcache:entry:*")) == 1 and not redis.keys("semcache:alias:*")


def test_invalidate_by_question_in_all_scopes(client, redis):
    for params in ({}, {"model": "other-model"}, {"parameters": {"temperature": 1}}):
        client.ask(QUESTION, **params)
    client.ask(f"Some context. {QUESTION}", context="label", question=QUESTION)
    client.ask(QUESTION, namespace="other")
    client.ask(WORDING)
    kept = client.ask(OTHER)["entry"]
    assert client.call("invalidate", question=QUESTION)["entries"] == 4
    assert client.lookup(QUESTION)["tier"] == "miss"
    assert client.lookup(WORDING)["tier"] == "miss"
    assert client.lookup(QUESTION, namespace="other")["tier"] == "memory"
    assert client.lookup(OTHER)["entry"] == kept
    assert len(redis.keys("semcache:entry:*")) == 2


def test_invalidate_by_tag(client, redis):
    client.ask("first tagged question", tags=["a", "b"])
    client.ask("second tagged question", tags=["b"])
    client.ask("third tagged question", tags=["c"])
    client.ask("tagged elsewhere", tags=["b"], namespace="other")
    assert client.call("invalidate", tag="b")["entries"] == 2
    assert [client.lookup(f"{n} tagged question")["tier"] for n in ("first", "second", "third")] == ["miss", "miss", "memory"]
    assert client.lookup("tagged elsewhere", namespace="other")["tier"] == "memory"
    assert client.call("invalidate", tag="b", namespace="other")["entries"] == 1
    assert client.call("invalidate", tag="never-used")["entries"] == 0


def test_invalidate_of_a_namespace(client, redis):
    client.ask(QUESTION, namespace="doomed")
    client.ask(WORDING, namespace="doomed")
    client.ask(OTHER, namespace="doomed")
    client.ask(QUESTION)
    removed = client.call("invalidate", namespace="doomed")
    assert (removed["entries"], removed["aliases"]) == (2, 1)
    assert client.lookup(QUESTION, namespace="doomed")["tier"] == "miss"
    assert client.lookup(QUESTION)["tier"] == "memory"
    assert len(redis.keys("semcache:entry:*")) == 1


@pytest.mark.parametrize("params, field", [
    ({}, "entry"), ({"entry": "0" * 64, "tag": "t"}, "entry"), ({"question": "q", "tag": "t"}, "entry"),
    ({"dry_run": True}, "entry"), ({"entry": "abc"}, "entry"), ({"tag": "with space"}, "tag"), ({"question": ""}, "question"),
    ({"tag": ""}, "tag"), ({"namespace": ""}, "namespace"),
])
def test_a_selector_that_is_empty_or_more_than_one_is_invalid(client, params, field):
    client.ask(QUESTION)
    assert client.fails("invalidate", "INVALID", **params).keys["field"] == field
    assert client.lookup(QUESTION)["tier"] == "memory"


@pytest.mark.parametrize("selector", ["entry", "question", "tag", "namespace"])
def test_a_dry_run_counts_the_same_and_removes_nothing(client, redis, selector):
    entry = client.ask(QUESTION, tags=["office"])["entry"]
    client.ask(WORDING)
    value = {"entry": entry, "question": QUESTION, "tag": "office", "namespace": "default"}[selector]
    before = ours(redis)
    dry = client.call("invalidate", dry_run=True, **{selector: value})
    assert ours(redis) == before
    assert client.lookup(QUESTION)["tier"] == "memory" and client.lookup(WORDING)["tier"] == "memory"
    real = client.call("invalidate", **{selector: value})
    assert (dry["entries"], dry["aliases"], dry["vectors"]) == (real["entries"], real["aliases"], real["vectors"])
    assert (real["entries"], real["aliases"]) == (1, 1)
    assert_gone(client, redis, QUESTION, WORDING)


def test_invalidate_removes_the_vectors_of_what_it_removes(client, redis):
    client.ask(QUESTION)
    client.ask(WORDING)
    assert len(redis.keys("semcache:vector:*")) == 2
    removed = client.call("invalidate", question=QUESTION)
    assert removed["vectors"] >= 1
    client.call("invalidate", namespace="default")
    assert not redis.keys("semcache:vector:*")


def test_flush_of_one_namespace(client, redis):
    client.ask(QUESTION, namespace="one")
    client.ask(QUESTION, namespace="two")
    flushed = client.call("flush", namespace="one")
    assert (flushed["namespaces"], flushed["entries"], flushed["queued"]) == (1, 1, False)
    assert client.lookup(QUESTION, namespace="one")["tier"] == "miss"
    assert client.lookup(QUESTION, namespace="two")["tier"] == "memory"


def test_flush_of_all_leaves_nothing_but_names(client, redis):
    for namespace in ("default", "one", "two"):
        client.ask(QUESTION, namespace=namespace, tags=["t"])
        client.ask(WORDING, namespace=namespace)
    flushed = client.call("flush")
    assert (flushed["namespaces"], flushed["entries"], flushed["aliases"]) == (3, 3, 3)
    assert ours(redis) == []
    for namespace in ("default", "one", "two"):
        assert client.lookup(QUESTION, namespace=namespace)["tier"] == "miss"
    assert client.ask(QUESTION)["tier"] == "upstream"
    assert client.ask(QUESTION)["tier"] == "memory"


def test_after_a_flush_a_restart_revives_nothing(daemon, client, redis):
    client.ask(QUESTION)
    client.ask(WORDING)
    client.call("flush")
    daemon.restart()
    assert_gone(daemon.client(), redis, QUESTION, WORDING)


def test_more_entries_than_one_batch_are_all_removed(client, redis):
    for request in client.start_all("add", [{"prompt": f"one of very many {i}", "answer": "a", "tags": ["many"]}
                                            for i in range(1300)]):
        request.wait()
    assert client.call("invalidate", tag="many", dry_run=True)["entries"] == 1300
    assert client.call("invalidate", tag="many")["entries"] == 1300
    assert not redis.keys("semcache:entry:*")
    assert client.call("list")["entries"] == []


def test_invalidate_without_redis(make_daemon, upstream):
    client = make_daemon(upstream=upstream).start().client()
    upstream.vectors.near(WORDING, QUESTION, 0.96)
    entry = client.ask(QUESTION, tags=["t"])["entry"]
    client.ask(WORDING)
    assert client.call("invalidate", entry=entry)["entries"] == 1
    assert client.lookup(QUESTION)["tier"] == "miss" and client.lookup(WORDING)["tier"] == "miss"
    client.ask(QUESTION, tags=["t"])
    assert client.call("invalidate", tag="t")["entries"] == 1
    client.ask(QUESTION)
    assert client.call("flush")["entries"] == 1
    assert client.lookup(QUESTION)["tier"] == "miss"


def test_invalidate_while_redis_is_away_is_at_once_here_and_queued_there(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).configure("redis", timeout_ms="300").start()
    client = daemon.client()
    entry = client.ask(QUESTION)["entry"]
    client.ask(OTHER)
    redis.freeze()
    for i in range(3):
        client.ask(f"makes Redis be seen as away {i}")
    daemon.wait_part("redis", "down")
    removed = client.call("invalidate", question=QUESTION)
    assert removed["queued"] is True
    assert client.lookup(QUESTION)["tier"] == "miss"
    client.fails("invalidate", "UNAVAILABLE", question=OTHER, dry_run=True)
    redis.thaw()
    daemon.wait_part("redis", "up")
    daemon.restart()
    assert daemon.client().lookup(QUESTION)["tier"] == "miss"
    assert daemon.client().lookup(OTHER)["tier"] == "exact"
    assert redis.command("EXISTS", f"semcache:entry:{entry}") == 0
