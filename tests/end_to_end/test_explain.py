"""explain: why a question would be served or not, what is near it in other scopes and what differs, and that it does nothing."""
import json
import os
import subprocess

import pytest

from harness.daemon import program
from upstream import fails, holds

QUESTION = "How do I reset my password?"
WORDING = "What is the way to change a forgotten password?"
FAR = "Why is the sky blue?"


def explain(client, question=WORDING, **params):
    """The explanation of a prompt, or of messages."""
    if "messages" not in params:
        params["prompt"] = question
    return client.call("explain", **params)


def chat(question, system):
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


@pytest.fixture(autouse=True)
def near(upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.97)


def differences(entry):
    return {each["what"]: (each["theirs"], each["ours"]) for each in entry["differs"]}


# ---- the question's own scope ----

def test_a_hit_by_meaning_is_explained(client):
    entry = client.ask(QUESTION)["entry"]
    said = explain(client)
    assert (said["would"], said["tier"], said["reason"], said["entry"]) == ("served", "semantic", None, entry)
    assert said["original_query"] == QUESTION and said["similarity"] == pytest.approx(0.97, abs=1e-5)
    assert (said["mode"], said["rule"], said["threshold"], said["origin"]) == ("threshold", "plain", 0.9, said["origin"])
    assert said["compared"] is True and said["why_not_compared"] is None and said["exact"] is None
    [candidate] = said["candidates"]
    assert (candidate["entry"], candidate["question"], candidate["why"]) == (entry, QUESTION, None)
    assert candidate["model"] == "test-model" and candidate["age"] == 0 and 3590 <= candidate["ttl"] <= 3600
    assert candidate["created_ms"] > 0 and not candidate["rejected"] and not candidate["quarantined"]
    assert said["elsewhere"] == [] and said["why_no_elsewhere"] is None
    assert set(said["timing"]) == {"total_ms", "embedding_ms", "search_ms", "elsewhere_ms"}
    assert client.ask(WORDING)["tier"] == "semantic"


def test_under_the_threshold_the_nearest_is_told(client, upstream):
    upstream.vectors.near("What is a TCP socket?", QUESTION, 0.85)
    client.ask(QUESTION)
    said = explain(client, "What is a TCP socket?")
    assert (said["would"], said["tier"], said["reason"]) == ("missed", "miss", "below_threshold")
    assert said["similarity"] == pytest.approx(0.85, abs=1e-5) and said["original_query"] == QUESTION
    assert said["candidates"][0]["why"] == "below_threshold"
    assert explain(client, "What is a TCP socket?", threshold=0.8)["would"] == "served"
    assert explain(client, "What is a TCP socket?", threshold=0.8)["origin"] == "call"


def test_nothing_stored_is_no_candidate(client):
    said = explain(client, FAR)
    assert (said["would"], said["reason"], said["entry"], said["similarity"]) == ("missed", "no_candidate", None, None)
    assert said["candidates"] == [] and said["elsewhere"] == []


def test_the_nearest_come_first_and_there_are_at_most_eight(client, upstream):
    for i in range(10):
        upstream.vectors.near(f"wording {i}", QUESTION, 0.5 + i / 25)
        client.ask(f"wording {i}")
    said = explain(client, QUESTION)
    similarities = [candidate["similarity"] for candidate in said["candidates"]]
    assert len(similarities) == 8 and similarities == sorted(similarities, reverse=True)
    assert said["candidates"][0]["question"] == "wording 9"


def test_too_old_is_told(daemon, redis):
    entry = daemon.client().ask(QUESTION)["entry"]
    key = f"semcache:entry:{entry}"
    redis.command("HSET", key, "created_ms", int(redis.hash(key)["created_ms"]) - 100000)
    redis.command("PEXPIRE", key, redis.command("PTTL", key) - 100000)
    daemon.restart()
    said = explain(daemon.client(), max_age=90)
    assert (said["would"], said["reason"], said["max_age"]) == ("missed", "max_age", 90)
    assert said["candidates"][0]["why"] == "max_age" and said["candidates"][0]["age"] >= 100
    exact = explain(daemon.client(), QUESTION, max_age=90)
    assert (exact["would"], exact["exact"]["why"]) == ("missed", "max_age")


def test_a_rejected_pair_and_a_quarantined_entry_are_told(client, upstream):
    upstream.vectors.near("And another wording", QUESTION, 0.96)
    entry = client.ask(QUESTION)["entry"]
    client.call("feedback", entry=entry, question=WORDING, verdict="wrong")
    said = explain(client)
    assert (said["would"], said["reason"], said["candidates"][0]["rejected"]) == ("missed", "rejected", True)
    assert explain(client, "And another wording")["would"] == "served"
    client.call("feedback", entry=entry, question="And yet another one", verdict="wrong")
    said = explain(client, "And another wording")
    assert (said["would"], said["reason"], said["candidates"][0]["quarantined"]) == ("missed", "quarantined", True)


@pytest.mark.parametrize("state, would, told", [("on", "missed", "vetoes"), ("shadow", "served", "shadow_vetoes"),
                                                 ("off", "served", "off_vetoes")])
def test_each_guards_verdict_is_told_whether_it_is_on_or_not(make_daemon, redis, upstream, state, would, told):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"guards": f"numbers:{state}"}).start()
    client = daemon.client()
    upstream.vectors.near("May I take 200 mg of ibuprofen?", "May I take 20 mg of ibuprofen?", 0.98)
    client.ask("May I take 20 mg of ibuprofen?")
    said = explain(client, "May I take 200 mg of ibuprofen?")
    assert said["would"] == would and said["reason"] == ("guard_numbers" if state == "on" else None)
    candidate = said["candidates"][0]
    assert "numbers" in candidate[told]
    assert candidate["why"] == ("guard_numbers" if state == "on" else None)
    assert ("numbers" in said["guards_on"]) == (state == "on") and ("numbers" in said["guards_shadow"]) == (state == "shadow")


def test_shadow_says_what_would_be_served(make_daemon, redis, upstream):
    client = make_daemon(redis=redis, upstream=upstream, namespace__default={"mode": "shadow"}).start().client()
    entry = client.ask(QUESTION)["entry"]
    said = explain(client)
    assert (said["would"], said["reason"], said["would_serve"], said["entry"]) == ("missed", "shadow", True, entry)


def test_the_calibrated_rule_tells_its_score(make_daemon, redis, upstream):
    settings = {"mode": "calibrated", "score_threshold": 0.95, "margin": 0.5, "margin_floor": 0.7, "minimum": 0.75}
    client = make_daemon(redis=redis, upstream=upstream, namespace__default=settings).start().client()
    upstream.vectors.near(FAR, QUESTION, 0.1)
    client.ask(QUESTION)
    client.ask(FAR)
    said = explain(client)
    assert (said["would"], said["rule"], said["next"]) == ("served", "calibrated", 0.7)
    assert said["score"] == pytest.approx(0.97 + 0.5 * 0.27, abs=1e-4)
    assert (said["score_threshold"], said["margin"], said["minimum"]) == (0.95, 0.5, 0.75)


# ---- by identity ----

def test_the_same_question_is_explained_as_exact(daemon):
    client = daemon.client()
    entry = client.ask(QUESTION)["entry"]
    said = explain(client, QUESTION)
    assert (said["would"], said["tier"], said["entry"], said["similarity"]) == ("served", "memory", entry, 1.0)
    assert said["exact"]["entry"] == entry and said["exact"]["why"] is None and said["exact"]["alias"] is None
    assert said["candidates"][0]["entry"] == entry
    daemon.restart()
    said = explain(daemon.client(), QUESTION)
    assert (said["would"], said["tier"], said["entry"]) == ("served", "exact", entry)


def test_an_alias_is_told_with_its_kind(client):
    entry = client.ask(QUESTION)["entry"]
    client.ask(WORDING)
    said = explain(client)
    assert (said["would"], said["tier"], said["entry"]) == ("served", "memory", entry)
    assert said["exact"]["alias"] == "promoted" and said["exact"]["question"] == QUESTION
    assert said["exact"]["similarity"] == pytest.approx(0.97, abs=1e-5)
    strict = explain(client, threshold=0.99)
    assert (strict["would"], strict["exact"]["why"], strict["reason"]) == ("missed", "below_threshold", "below_threshold")


def test_an_alias_that_another_embedder_measured_is_none(daemon):
    client = daemon.client()
    client.ask(QUESTION)
    assert client.ask(WORDING)["tier"] == "semantic"
    daemon.settle()
    daemon.configure("embedder", model="another-embedder")
    client = daemon.restart().client()
    said = explain(client)
    assert (said["would"], said["exact"]) == ("missed", None)
    assert client.lookup(WORDING)["tier"] == "miss"


# ---- other scopes ----

@pytest.mark.parametrize("other, expected", [
    ({"parameters": {"temperature": 0.2}}, {"temperature": (0.2, 0.7)}),
    ({}, {"temperature": (None, 0.7)}),
    ({"parameters": {"temperature": 0.7, "seed": 5, "user": "x"}}, {"seed": (5, None)}),
    ({"parameters": {"temperature": 0.7, "stop": ["x" * 300]}}, {"stop": ("(304 bytes)", None)}),
    ({"parameters": {"temperature": 0.7, **{f"p{i}": i for i in range(64)}}}, {"parameters": ("(334 bytes)", {"temperature": 0.7})}),
    ({"model": "other-model", "parameters": {"temperature": 0.7}}, {"model": ("other-model", "test-model")}),
    ({"context": "kb-1", "parameters": {"temperature": 0.7}}, {"context": ("kb-1", "all")}),
])
def test_the_nearest_of_another_scope_is_told_with_what_differs(client, other, expected):
    entry = client.ask(QUESTION, **other)["entry"]
    said = explain(client, parameters={"temperature": 0.7})
    assert (said["would"], said["reason"]) == ("missed", "no_candidate")
    [found] = said["elsewhere"]
    assert (found["entry"], found["question"]) == (entry, QUESTION)
    assert found["similarity"] == pytest.approx(0.97, abs=1e-5)
    assert differences(found) == expected


def test_another_system_prompt_is_told_as_other_messages(client):
    client.call("get_or_generate", messages=chat(QUESTION, "You are terse."), parameters={"seed": 1})
    said = explain(client, messages=chat(WORDING, "You are kind."), parameters={"seed": 1})
    [found] = said["elsewhere"]
    [difference] = found["differs"]
    assert difference["what"] == "messages" and difference["theirs"] != difference["ours"]
    assert "terse" not in str(found)
    both = explain(client, messages=chat(WORDING, "You are kind."), parameters={"seed": 2})
    assert set(differences(both["elsewhere"][0])) == {"messages", "seed"}


def test_values_that_are_the_same_to_an_identity_do_not_differ(client):
    client.ask(QUESTION, parameters={"temperature": 1.0, "seed": 1, "logit_bias": {"a": 1, "b": 2}})
    said = explain(client, parameters={"seed": 2, "logit_bias": {"b": 2.0, "a": 1.0}, "temperature": 1})
    assert differences(said["elsewhere"][0]) == {"seed": (1, 2)}


@pytest.mark.parametrize("count", [20, 80])
def test_all_scopes_are_looked_through_and_the_nearest_come_first(client, upstream, count):
    for i in range(count):
        upstream.vectors.near(f"wording {i}", QUESTION, 0.3 + i / 2 / count)
        client.ask(f"wording {i}", parameters={"seed": i})
    said = explain(client, QUESTION)
    assert [found["question"] for found in said["elsewhere"]] == [f"wording {i}" for i in range(count - 1, count - 9, -1)]
    assert said["elsewhere"][0]["differs"] == [{"what": "seed", "theirs": count - 1, "ours": None}]
    # Others leave while their search goes on.
    requests = [client.start("explain", prompt=QUESTION) for _ in range(20)]
    for request in requests[::2]:
        request.cancel()
    assert all(len(request.wait()["elsewhere"]) == 8 for request in requests[1::2])


def test_other_scopes_are_told_after_a_restart_from_redis(daemon):
    daemon.client().ask(QUESTION, parameters={"temperature": 0.2})
    daemon.restart()
    said = explain(daemon.client(), parameters={"temperature": 0.7})
    assert differences(said["elsewhere"][0]) == {"temperature": (0.2, 0.7)}


def test_of_one_entry_at_most_32_differences_are_told(client):
    client.ask(QUESTION, parameters={f"p{i}": "x" * 200 for i in range(50)})
    [found] = explain(client)["elsewhere"]
    assert [each["what"] for each in found["differs"]] == [f"p{i}" for i in range(32)]


def test_an_entry_that_is_gone_is_left_out(client):
    entry = client.ask(QUESTION, parameters={"seed": 1})["entry"]
    client.call("invalidate", entry=entry)
    assert explain(client)["elsewhere"] == []


def test_another_namespaces_entries_are_never_shown(client):
    client.ask(QUESTION, namespace="secret", parameters={"seed": 1})
    client.ask(QUESTION, namespace="secret")
    said = explain(client)
    assert said["candidates"] == [] and said["elsewhere"] == [] and said["exact"] is None
    assert said["reason"] == "no_candidate"
    assert len(explain(client, namespace="secret")["elsewhere"]) == 1


def test_without_redis_it_explains_too(make_daemon, upstream):
    client = make_daemon(upstream=upstream).start().client()
    client.ask(QUESTION)
    client.ask(QUESTION, parameters={"seed": 1})
    said = explain(client)
    assert (said["would"], said["tier"]) == ("served", "semantic")
    assert differences(said["elsewhere"][0]) == {"seed": (1, None)}


def test_while_redis_does_not_answer_it_says_that_other_scopes_are_not_known(daemon, redis):
    daemon.client().ask(QUESTION, parameters={"seed": 1})
    daemon.client().ask(QUESTION)
    daemon.restart()
    redis.freeze()
    said = explain(daemon.client())
    assert (said["elsewhere"], said["why_no_elsewhere"]) == ([], "redis_unavailable")
    assert said["candidates"][0]["question"] == QUESTION
    # One that leaves while Redis is waited for.
    client = daemon.client()
    client.start("explain", prompt=WORDING)
    client.close()
    redis.thaw()


# ---- what is not compared ----

@pytest.mark.parametrize("params, why", [
    ({"parameters": {"tools": [{"type": "function", "function": {"name": "f"}}]}}, "tools"),
    ({"parameters": {"functions": [{"name": "f"}]}}, "tools"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]}, "images"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "not_text"),
    ({"mode": "exact"}, "exact_only"),
])
def test_why_a_question_is_not_compared_is_told(client, upstream, params, why):
    said = explain(client, **params)
    assert (said["compared"], said["why_not_compared"], said["would"], said["reason"]) == (False, why, "missed", "exact_only")
    assert said["candidates"] == [] and said["elsewhere"] == [] and said["why_no_elsewhere"] == "not_compared"
    assert not upstream.embeddings


def test_a_text_that_is_too_long_is_not_compared(make_daemon, redis, upstream):
    client = make_daemon(redis=redis, upstream=upstream, embedder={"max_bytes": 100}).start().client()
    said = explain(client, "x" * 101)
    assert (said["compared"], said["why_not_compared"], said["reason"]) == (False, "too_long", "exact_only")
    assert explain(client, "x" * 100)["compared"] is True


def test_without_an_embedder_nothing_is_compared(make_daemon, redis, upstream):
    client = make_daemon(redis=redis, upstream=upstream, embedder={"url": ""}).start().client()
    client.ask(QUESTION)
    said = explain(client)
    assert (said["compared"], said["why_not_compared"]) == (False, "no_embedder")
    assert explain(client, QUESTION)["would"] == "served"


def test_while_the_embedder_is_away_it_says_so(client, upstream):
    client.ask(QUESTION)
    upstream.when_embedding(FAR, fails(500))
    said = explain(client, FAR)
    assert (said["compared"], said["why_not_compared"], said["reason"]) == (False, "embedder_unavailable", "embedder_unavailable")
    assert said["would"] == "missed" and said["candidates"] == []


# ---- it does nothing ----

def test_nothing_is_written_or_counted_and_no_model_is_asked(daemon, redis, upstream):
    client = daemon.client()
    client.ask(QUESTION)
    client.ask(QUESTION, parameters={"seed": 1})
    explain(client)  # its embedding is kept, as a look-up's is
    before, keys, chats = daemon.stats(), sorted(redis.keys()), len(upstream.chats)
    for params in ({}, {"threshold": 0.99}, {"parameters": {"seed": 1}}, {"prompt": QUESTION}):
        explain(client, params.pop("prompt", WORDING), **params)
    after = daemon.stats()
    assert sorted(redis.keys()) == keys and len(upstream.chats) == chats
    assert after["namespaces"] == before["namespaces"]
    moved = {name for name, count in after["counters"].items() if count != before["counters"][name]}
    assert moved == {"requests", "connections_accepted", "redis_reads", "embedding_cache_hits"}
    assert client.call("show", entry=client.lookup(QUESTION)["entry"])["aliases"] == []


@pytest.mark.parametrize("key", [{"ttl": 1}, {"tags": ["a"]}, {"stream": True}, {"cache": "only"}, {"answer": "x"}])
def test_what_is_not_for_explain_is_refused(client, key):
    assert client.fails("explain", "INVALID", prompt=QUESTION, **key).keys["field"] == next(iter(key))


def test_a_question_must_be_given(client):
    assert client.fails("explain", "INVALID").keys["field"] in ("prompt", "request")


def test_it_is_cancelled_while_the_embedder_thinks(client, upstream):
    upstream.when_embedding(FAR, holds)
    request = client.start("explain", prompt=FAR)
    upstream.wait_embedding(FAR)
    request.cancel()
    request.fails("CANCELLED")
    assert client.fails("explain", "TIMEOUT", prompt=FAR, timeout_ms=50)


def test_a_namespaces_rules_hold(make_daemon, redis, upstream):
    client = make_daemon(redis=redis, upstream=upstream,
                         namespace__default={"threshold_min": 0.8, "context": "all"}).start().client()
    assert client.fails("explain", "INVALID", prompt=QUESTION, threshold=0.5).keys["field"] == "threshold"
    assert client.fails("explain", "INVALID", prompt=QUESTION, context="system").keys["field"] == "context"


# ---- semcachectl ----

def ctl(daemon, *words):
    ran = subprocess.run([program("client/semcachectl"), "--socket", daemon.socket_path, *words], text=True,
                         stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
                         env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_semcachectl_says_it_for_people(daemon):
    client = daemon.client()
    entry = client.ask(QUESTION)["entry"]
    said = ctl(daemon, "explain", WORDING)
    assert said.startswith(f"would be served from {entry} [semantic], similarity 0.970: {QUESTION}\n")
    assert "mode threshold, threshold 0.900" in said
    client.ask("How do I \x1b[31mreset\x1b[0m it?\n", parameters={"temperature": 0.2})
    said = ctl(daemon, "explain", WORDING, "-p", "temperature=0.7")
    assert said.startswith("would ask the model: no_candidate\n")
    assert ", but temperature unset \u2260 0.7: " + QUESTION in said
    assert "\x1b" not in said
    said = ctl(daemon, "explain", QUESTION, "-p", 'tools=[{"type":"function"}]')
    assert "not compared by meaning: tools (" in said


def test_semcachectl_prints_the_result_as_json(daemon):
    daemon.client().ask(QUESTION)
    assert json.loads(ctl(daemon, "explain", "--json", WORDING))["would"] == "served"
