"""What people say of answers is never forgotten: a rejected pair is never served again, whatever happens in between."""
import json
import os
import threading

import pytest

from harness.waiting import eventually
from test_rights import NOBODY, somebody
from test_semcachectl import caller
from upstream import holds

QUESTION = "How do I delete an account?"
WORDING = "How can an account be deleted?"
SECOND = "What removes an account?"
UNKNOWN = "0" * 64
OTHER_SCOPE = {"parameters": {"temperature": 1}}


@pytest.fixture
def near(upstream):
    """The wordings that mean the same as the question, to the embedder."""
    upstream.vectors.near(WORDING, QUESTION, 0.97)
    upstream.vectors.near(SECOND, QUESTION, 0.96)
    return upstream


@pytest.fixture
def daemon(make_daemon, redis, near):
    return make_daemon(redis=redis, upstream=near).start()


def stored(daemon, client, question=QUESTION, **params):
    """The identity of the entry of a question, which is in Redis."""
    entry = client.ask(question, **params)["entry"]
    daemon.settle()
    return entry


def wrong(client, entry, question=WORDING, **params):
    return client.call("feedback", entry=entry, question=question, verdict="wrong", **params)


def is_rejected(client, question=WORDING, **params):
    """Whether a look-up misses because of what was said."""
    result = client.lookup(question, **params)
    return result["tier"] == "miss" and result["reason"] == "rejected"


# ---- a rejected pair ----

def test_a_rejected_pair_is_not_served_by_meaning(daemon, client, upstream):
    entry = stored(daemon, client)
    assert client.lookup(WORDING)["tier"] == "semantic"
    result = wrong(client, entry)
    assert (result["rejected"], result["quarantined"], result["removed"], result["alias"], result["queued"]) == \
        (True, False, False, None, False)
    assert is_rejected(client)
    assert client.lookup(SECOND)["tier"] == "semantic"
    fresh = client.ask(WORDING)
    assert (fresh["tier"], fresh["reason"], fresh["best_query"]) == ("upstream", "rejected", QUESTION)
    assert client.ask(QUESTION)["entry"] == entry
    assert daemon.counters()["feedback_wrong"] == 1
    assert daemon.stats()["gauges"]["pairs_rejected"] == 1
    assert len(upstream.chats) == 2


def test_a_rejected_pair_holds_both_ways(daemon, client):
    entry = stored(daemon, client)
    wrong(client, entry)
    client.call("invalidate", entry=entry)
    client.ask(WORDING)
    assert is_rejected(client, QUESTION)


@pytest.mark.parametrize("restart", [False, True])
def test_a_rejected_pair_is_not_served_by_its_alias(daemon, client, restart):
    entry = stored(daemon, client)
    assert client.ask(WORDING)["tier"] == "semantic"
    assert client.ask(WORDING)["tier"] == "memory"
    daemon.settle()
    wrong(client, entry)
    if restart:
        client = daemon.restart().client()
    assert is_rejected(client)
    assert client.ask(WORDING)["tier"] == "upstream"


def test_a_question_known_byte_for_byte_is_not_served_by_its_rejected_alias(daemon, client):
    entry = stored(daemon, client)
    for tier in ("semantic", "memory", "memory", "memory"):
        assert client.ask(WORDING)["tier"] == tier
    wrong(client, entry)
    assert client.ask(WORDING)["tier"] == "upstream"


def test_a_rejected_pair_is_not_served_after_restart_and_eviction(daemon, client):
    entry = stored(daemon, client)
    wrong(client, entry)
    client.call("invalidate", entry=entry)
    daemon.restart()
    client = daemon.client()
    again = stored(daemon, client)
    assert again == entry
    assert is_rejected(client)
    assert client.lookup(SECOND)["tier"] == "semantic"


def test_a_rejected_pair_is_not_served_in_another_scope(daemon, client):
    entry = stored(daemon, client, parameters={"temperature": 0})
    stored(daemon, client, parameters={"temperature": 1})
    stored(daemon, client, model="other-model")
    assert client.lookup(WORDING, parameters={"temperature": 1})["tier"] == "semantic"
    wrong(client, entry)
    for scope in ({"parameters": {"temperature": 0}}, {"parameters": {"temperature": 1}}, {"model": "other-model"}):
        assert is_rejected(client, **scope)


def test_another_namespace_has_verdicts_of_its_own(daemon, client):
    entry = stored(daemon, client)
    stored(daemon, client, namespace="other")
    wrong(client, entry)
    assert client.lookup(WORDING, namespace="other")["tier"] == "semantic"
    assert client.fails("feedback", "NOT_FOUND", entry=entry, question=WORDING, verdict="wrong",
                        namespace="other").keys["field"] == "entry"


def test_a_rejected_pair_does_not_share_an_answer_in_the_air(daemon, client, upstream):
    entry = stored(daemon, client)
    wrong(client, entry)
    client.call("invalidate", entry=entry)
    upstream.when(None, holds)
    first, second = client.start_ask(QUESTION), client.start_ask(WORDING)
    chats = [upstream.wait_chat(QUESTION, 2), upstream.wait_chat(WORDING)]
    for chat in chats:
        chat.token("held").finish()
    assert {first.wait()["tier"], second.wait()["tier"]} == {"upstream"}


def test_who_shares_an_answer_in_the_air_that_is_rejected_meanwhile_is_told(daemon, client, upstream):
    entry = stored(daemon, client, **OTHER_SCOPE)
    upstream.when(None, holds)
    first = client.stream(QUESTION)
    chat = upstream.wait_chat(QUESTION, 2)
    joined, other = client.start_ask(WORDING), client.start_ask(SECOND)
    eventually(lambda: daemon.counters()["flights_joined_by_meaning"] == 2, "both wordings to join")
    wrong(client, entry)
    assert joined.fails("UNAVAILABLE").keys["retry_ms"] == "0"
    chat.token("shared").finish()
    assert first.answer == "shared"
    assert other.wait()["tier"] == "coalesced"
    upstream.forget_rules()
    assert client.ask(WORDING)["tier"] == "upstream"


def test_who_has_begun_to_read_reads_on_but_gets_no_alias(daemon, client, upstream, redis):
    entry = stored(daemon, client, **OTHER_SCOPE)
    upstream.when(None, holds)
    first = client.stream(QUESTION)
    chat = upstream.wait_chat(QUESTION, 2)
    joined = client.stream(WORDING)
    eventually(lambda: daemon.counters()["flights_joined_by_meaning"] == 1, "the wording to join")
    chat.token("half ")
    joined.wait_text("half ")
    wrong(client, entry)
    chat.token("and half").finish()
    assert joined.answer == first.answer == "half and half"
    upstream.forget_rules()
    assert redis.keys("semcache:alias:*") == []
    assert is_rejected(client)
    assert client.ask(WORDING)["tier"] == "upstream"


@pytest.fixture
def pair(make_daemon, redis, near):
    """Two running daemons on one Redis."""
    return [make_daemon(name, redis, near).configure("redis", timeout_ms="300").start() for name in ("a", "b")]


# ---- quarantine ----

def test_two_wrong_verdicts_from_two_questions_quarantine(daemon, client):
    entry = stored(daemon, client)
    for _ in range(2):
        assert not wrong(client, entry, WORDING)["quarantined"]
    assert client.lookup(QUESTION)["tier"] == "memory"
    assert wrong(client, entry, SECOND)["quarantined"]
    assert daemon.stats()["gauges"]["entries_quarantined"] == 1
    assert client.lookup(QUESTION)["reason"] == "quarantined"
    daemon.restart()
    client = daemon.client()
    assert client.lookup(QUESTION)["reason"] == "quarantined"
    assert daemon.stats()["gauges"]["entries_quarantined"] == 1


def test_a_quarantined_entry_is_replaced_when_it_is_asked_for(daemon, client, upstream):
    entry = stored(daemon, client)
    third = upstream.vectors.near("Deleting an account: how?", QUESTION, 0.95)
    for question in (WORDING, SECOND):
        wrong(client, entry, question)
    assert client.lookup(third)["tier"] == "miss"
    fresh = client.ask(QUESTION)
    assert (fresh["tier"], fresh["entry"]) == ("upstream", entry)
    daemon.settle()
    assert client.ask(QUESTION)["tier"] == "memory"
    assert client.lookup(third)["tier"] == "semantic"
    assert is_rejected(client)
    assert not wrong(client, entry, third)["quarantined"]


def test_a_removal_of_what_a_question_once_was_an_alias_of_leaves_its_own_entry_quarantined(daemon, client):
    entry = stored(daemon, client)
    assert client.ask(WORDING)["tier"] == "semantic"
    daemon.settle()
    own = client.add(WORDING, "an answer of its own")["entry"]
    assert not wrong(client, own, "Something else altogether")["quarantined"]
    assert wrong(client, own, "Another thing that differs")["quarantined"]
    client.call("invalidate", entry=entry)
    assert client.lookup(WORDING)["reason"] == "quarantined"
    assert daemon.stats()["gauges"]["entries_quarantined"] == 1


def aged(client, question):
    """Until what a question would get is older than a second, which the caller of `max_age` 0 refuses."""
    eventually(lambda: client.lookup(question).get("age", 0) >= 1, "the entry to be a second old")


def test_who_joins_a_question_that_found_the_entry_before_its_quarantine_is_not_served_it(daemon, client, upstream):
    entry = stored(daemon, client)
    third = upstream.vectors.near("Deleting an account: how?", QUESTION, 0.95)
    aged(client, third)
    upstream.when(third, holds)
    first = client.start_ask(third, max_age=0)
    chat = upstream.wait_chat(third)
    wrong(client, entry, WORDING)
    assert wrong(client, entry, SECOND)["quarantined"]
    late = client.start_ask(third)
    client.lookup("What else takes a few turns of the loop?")
    chat.token("fresh").finish()
    assert (first.wait()["tier"], late.wait()["tier"]) == ("upstream", "coalesced")


def test_a_quarantined_answer_is_not_served_stale_to_who_shared_one_that_failed(make_daemon, redis, near):
    daemon = make_daemon(redis=redis, upstream=near, namespace__default={"stale_window": "600"}).start()
    client = daemon.client()
    entry = stored(daemon, client, WORDING, ttl=1)
    eventually(lambda: client.lookup(WORDING)["tier"] == "miss", "the entry to expire")
    wrong(client, entry, SECOND)
    assert wrong(client, entry, "Something else altogether")["quarantined"]
    near.when(QUESTION, holds)
    first = client.start_ask(QUESTION)
    chat = near.wait_chat(QUESTION)
    joined = client.start_ask(WORDING)
    eventually(lambda: daemon.counters()["flights_joined_by_meaning"] == 1, "the wording to join")
    chat.fail(500)
    first.fails("UPSTREAM")
    joined.fails("UPSTREAM")


def test_an_answer_that_is_wrong_for_its_own_question_is_removed(daemon, client, redis, upstream):
    entry = stored(daemon, client)
    result = wrong(client, entry, QUESTION)
    assert (result["removed"], result["rejected"], result["quarantined"]) == (True, False, False)
    assert redis.keys(f"semcache:entry:{entry}") == []
    assert client.ask(QUESTION)["tier"] == "upstream"
    daemon.settle()
    assert client.ask(QUESTION)["tier"] == "memory"


# ---- undo ----

def test_undo_takes_everything_back(daemon, client, redis):
    entry = stored(daemon, client)
    for question in (WORDING, SECOND):
        wrong(client, entry, question)
    result = client.call("feedback", entry=entry, question=SECOND, verdict="undo")
    assert (result["rejected"], result["quarantined"]) == (False, False)
    assert client.lookup(QUESTION)["tier"] == "memory"
    assert client.lookup(SECOND)["tier"] == "semantic"
    assert is_rejected(client, WORDING)
    client.call("feedback", entry=entry, question=WORDING, verdict="undo")
    assert redis.keys("semcache:reject:*") == redis.keys("semcache:quarantine:*") == []
    assert redis.command("XLEN", "semcache:label:default") == 0
    daemon.restart()
    assert daemon.client().lookup(WORDING)["tier"] == "semantic"


def test_undo_needs_no_entry(daemon, client, redis):
    entry = stored(daemon, client)
    wrong(client, entry)
    client.call("invalidate", entry=entry)
    client.call("feedback", entry=entry, question=WORDING, verdict="undo")
    stored(daemon, client)
    assert client.lookup(WORDING)["tier"] == "semantic"
    client.call("invalidate", entry=entry)
    assert client.fails("feedback", "NOT_FOUND", entry=entry, question=WORDING, verdict="undo").keys["field"] == "entry"


@pytest.mark.parametrize("restarts", [False, True])
def test_undo_of_an_entrys_own_question_takes_no_other_verdict_back_when_the_entry_is_gone(daemon, client, restarts):
    entry = stored(daemon, client)
    wrong(client, entry)
    client.call("invalidate", entry=entry)
    if restarts:
        client = daemon.restart().client()
    assert client.fails("feedback", "NOT_FOUND", entry=entry, question=QUESTION, verdict="undo").keys["field"] == "entry"
    stored(daemon, client)
    assert is_rejected(client)


def test_undo_takes_an_accepted_alias_back(daemon, client, redis):
    entry = stored(daemon, client)
    far = "Something else altogether"
    alias = client.call("feedback", entry=entry, question=far, verdict="accept")["alias"]
    assert client.lookup(far)["entry"] == entry
    client.call("feedback", entry=entry, question=far, verdict="undo")
    assert client.lookup(far)["tier"] == "miss"
    assert redis.keys(f"semcache:alias:{alias}") == []
    daemon.restart()
    assert daemon.client().lookup(far)["tier"] == "miss"


# ---- accept ----

def test_an_accepted_question_is_served_whatever_the_threshold_but_not_exactly(daemon, client, upstream):
    far = upstream.vectors.near("Closing a profile", QUESTION, 0.5)
    entry = stored(daemon, client)
    assert client.lookup(far)["tier"] == "miss"
    result = client.call("feedback", entry=entry, question=far, verdict="accept")
    assert result["similarity"] == pytest.approx(0.5, abs=1e-4)
    hit = client.ask(far, threshold=1)
    assert (hit["tier"], hit["entry"], hit["original_query"]) == ("memory", entry, QUESTION)
    assert hit["similarity"] == pytest.approx(0.5, abs=1e-4)
    assert client.lookup(far, mode="exact")["tier"] == "miss"
    client = daemon.restart().client()
    hit = client.ask(far, threshold=1)
    assert (hit["tier"], hit["entry"]) == ("exact", entry)
    assert [alias["kind"] for alias in client.call("show", entry=entry)["aliases"]] == ["accepted"]


def test_accept_takes_a_rejection_back_and_wrong_wins_over_accept(daemon, client):
    entry = stored(daemon, client)
    wrong(client, entry)
    client.call("feedback", entry=entry, question=WORDING, verdict="accept")
    assert client.lookup(WORDING)["entry"] == entry
    assert daemon.stats()["gauges"]["pairs_rejected"] == 0
    wrong(client, entry)
    assert is_rejected(client)
    client = daemon.restart().client()
    assert is_rejected(client)


def test_accept_of_a_whole_question(daemon, client):
    system = {"role": "system", "content": "You are terse."}
    messages = [[system, {"role": "user", "content": text}] for text in (QUESTION, "Gone for good?")]
    parameters = {"temperature": 0.5}
    entry = client.call("get_or_generate", messages=messages[0], parameters=parameters)["entry"]
    daemon.settle()
    error = client.fails("feedback", "INVALID", entry=entry, question="Gone for good?", verdict="accept")
    assert error.keys["field"] == "question" and "scope" in error.text
    assert client.fails("feedback", "INVALID", entry=entry, messages=messages[1], verdict="accept",
                        parameters={"temperature": 0.6}).keys["field"] == "question"
    client.call("feedback", entry=entry, messages=messages[1], verdict="accept")
    assert client.call("lookup", messages=messages[1], parameters=parameters)["entry"] == entry
    assert client.call("lookup", messages=messages[1])["tier"] == "miss"


def test_accept_of_the_entry_s_own_question_is_refused(daemon, client):
    entry = stored(daemon, client)
    assert client.fails("feedback", "INVALID", entry=entry, question=QUESTION, verdict="accept").keys["field"] == "question"


def test_an_accepted_alias_ends_with_its_entry(daemon, client, redis):
    entry = stored(daemon, client, ttl=100)
    alias = client.call("feedback", entry=entry, question="Gone for good?", verdict="accept")["alias"]
    assert 0 < redis.command("PTTL", f"semcache:alias:{alias}") <= redis.command("PTTL", f"semcache:entry:{entry}") + 50
    client.call("invalidate", entry=entry)
    assert client.lookup("Gone for good?")["tier"] == "miss"


# ---- labels, flush and purge ----

def labels(redis, namespace="default"):
    """The labels in Redis, as dicts."""
    records = redis.command("XRANGE", f"semcache:label:{namespace}", "-", "+")
    return [{fields[i].decode(): fields[i + 1].decode() for i in range(0, len(fields), 2)} for _id, fields in records]


def test_verdicts_are_labels_where_the_similarity_is_known(daemon, client, redis):
    entry = stored(daemon, client)
    client.ask(WORDING)
    daemon.settle()
    assert client.call("feedback", entry=entry, question=WORDING, verdict="right")["similarity"] == \
        pytest.approx(0.97, abs=1e-4)
    wrong(client, entry, "never embedded")
    wrong(client, entry, "measured by the caller", similarity=-0.25)
    found = labels(redis)
    assert [(label["right"], label["source"], label["entry"]) for label in found] == \
        [("1", "feedback", entry), ("0", "feedback", entry)]
    assert float(found[0]["similarity"]) == pytest.approx(0.97, abs=1e-4)
    assert float(found[1]["similarity"]) == -0.25
    assert all(len(label["embedder"]) == 16 and int(label["at_ms"]) > 0 for label in found)
    assert redis.command("TTL", "semcache:label:default") == -1


def test_redis_keeps_no_text_of_what_was_said(daemon, client, redis):
    entry = stored(daemon, client)
    wrong(client, entry, "a text that only the verdict has", similarity=0.5)
    assert redis.contains(QUESTION.encode()) and not redis.contains(b"only the verdict")


@pytest.mark.parametrize("selector", ["entry", "tag", "question"])
def test_a_purge_takes_labels_and_marks_along_but_rejections_stay(daemon, client, redis, selector):
    entry = stored(daemon, client, tags=["t"])
    other = stored(daemon, client, "another question altogether")
    for identity in (entry, other):
        wrong(client, identity, "neither of them", similarity=0.5)
    daemon.settle()
    client.call("invalidate", **{selector: {"entry": entry, "tag": "t", "question": QUESTION}[selector]})
    assert [label["entry"] for label in labels(redis)] == [other]
    assert [field[:64] for field in redis.hash("semcache:quarantine:default")] == [other]
    # The question's own text was purged: what was said of it goes, too.
    assert len(redis.hash("semcache:reject:default")) == (1 if selector == "question" else 2)
    assert daemon.stats()["gauges"]["pairs_rejected"] == (1 if selector == "question" else 2)


@pytest.mark.parametrize("params", [{}, {"namespace": "default"}])
def test_a_flush_takes_everything_along(pair, redis, params):
    one, two = (daemon.client() for daemon in pair)
    entry = stored(pair[0], one)
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "the entry to be followed")
    wrong(one, entry, similarity=0.5)
    eventually(lambda: is_rejected(two), "the rejection to be followed")
    one.call("flush", **params)
    assert redis.keys("semcache:reject:*") == redis.keys("semcache:quarantine:*") == redis.keys("semcache:label:*") == []
    for daemon in pair:
        eventually(lambda: daemon.stats()["gauges"]["pairs_rejected"] == 0, "the flush to be followed")
    stored(pair[0], one)
    assert one.lookup(WORDING)["tier"] == "semantic"


def test_what_was_said_outlives_the_entries_of_its_namespace(daemon, client, redis):
    """The namespace is found again at the start although nothing else is left of it."""
    entry = stored(daemon, client, namespace="brief")
    wrong(client, entry, namespace="brief")
    client.call("invalidate", entry=entry, namespace="brief")
    daemon.restart()
    assert daemon.stats()["gauges"]["pairs_rejected"] == 1


# ---- what may go wrong ----

@pytest.mark.parametrize("params, field", [
    ({"verdict": "maybe"}, "verdict"), ({"verdict": 1}, "verdict"), ({"verdict": None}, "verdict"),
    ({"entry": "12"}, "entry"), ({"entry": "g" * 64}, "entry"), ({"entry": None}, "entry"),
    ({"question": None}, "question"), ({"question": ""}, "question"), ({"question": 1}, "question"),
    ({"similarity": 1.01}, "similarity"), ({"similarity": float("nan")}, "similarity"), ({"similarity": "1"}, "similarity"),
    ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "messages"),
    ({"question": None, "messages": []}, "messages"), ({"namespace": "no spaces"}, "namespace"), ({"tag": "t"}, "tag"),
    ({"verdict": "accept", "model": "no such model"}, "model"),
])
def test_bad_input_is_refused(daemon, client, params, field):
    entry = stored(daemon, client)
    error = client.fails("feedback", "INVALID", **{"entry": entry, "question": WORDING, "verdict": "wrong", **params})
    assert error.keys["field"] == field
    assert daemon.stats()["gauges"]["pairs_rejected"] == 0


@pytest.mark.parametrize("verdict", ["right", "wrong", "accept", "undo"])
def test_no_such_entry(client, verdict):
    error = client.fails("feedback", "NOT_FOUND", entry=UNKNOWN, question=WORDING, verdict=verdict)
    assert error.keys["field"] == "entry"


def test_an_entry_that_only_redis_has_cannot_be_judged_while_it_is_away(pair, redis):
    one, two = (daemon.client() for daemon in pair)
    entry = stored(pair[0], one)
    redis.freeze()
    pair[1].wait_part("redis", "down")
    two.fails("feedback", "UNAVAILABLE", entry=entry, question=WORDING, verdict="wrong")
    redis.thaw()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_anybody_may_call_an_answer_wrong_but_not_have_others_served(make_daemon, redis, near, place):
    os.chmod(place, 0o755)
    daemon = make_daemon(redis=redis, upstream=near, server={"mode": "0666"})
    os.chmod(daemon.directory, 0o755)
    daemon.start()
    client = daemon.client()
    entry = stored(daemon, client)
    with somebody(NOBODY, NOBODY):
        other = daemon.client()
    for verdict in ("accept", "undo"):
        assert other.fails("feedback", "DENIED", entry=entry, question=WORDING, verdict=verdict).keys["field"] == "verdict"
    daemon.wait_log(rf"denied .*method=feedback uid={NOBODY}")
    assert wrong(other, entry, similarity=0.97)["rejected"]
    other.call("feedback", entry=entry, question=SECOND, verdict="right", similarity=0.9)
    wrong(other, entry, similarity=0.98)
    assert [(label["source"], float(label["similarity"])) for label in labels(redis)] == [("caller", 0.97)]
    assert daemon.counters()["denied"] == 2


def test_a_key_of_another_type_is_told_and_harms_nothing(daemon, client, redis):
    entry = stored(daemon, client)
    redis.command("SET", "semcache:reject:default", "not ours")
    client.fails("feedback", "UNAVAILABLE", entry=entry, question=WORDING, verdict="wrong")
    assert is_rejected(client)
    client = daemon.restart().client()
    assert client.lookup(QUESTION)["tier"] == "exact"
    assert client.lookup(WORDING)["tier"] == "semantic"


def test_feedback_concurrent_with_expiry_and_traffic_is_never_forgotten(daemon, upstream):
    """Entries are invalidated and made again while several clients judge their pairs; no rejected pair is ever served."""
    count, rounds = 8, 12
    questions = [f"question number {i} of this test" for i in range(count)]
    wordings = [upstream.vectors.near(f"wording number {i} of this test", question, 0.97)
                for i, question in enumerate(questions)]
    problems, rejected = [], set()

    def judge(client, n, i):
        entry = client.ask(questions[i])
        was_rejected = i in rejected
        result = client.ask(wordings[i])
        if was_rejected and result["original_query"] == questions[i]:
            problems.append(f"{wordings[i]!r} was served by {result['tier']}")
        # Until they are told apart, either may answer the other.
        if n % 3 == 0 and entry["entry"] and entry["original_query"] in (None, questions[i]):
            verdict = client.start("feedback", entry=entry["entry"], question=wordings[i], verdict="wrong")
            client.read_until(lambda: verdict.done, "the verdict")
            if verdict.error is None and verdict.value["rejected"]:
                rejected.add(i)
        if n % 2 == 0 and entry["entry"]:
            client.call("invalidate", entry=entry["entry"])

    def work(first):
        try:
            client = daemon.client()
            for n in range(rounds):
                judge(client, n + first, (first * 3 + n) % count)
        except Exception as problem:
            problems.append(repr(problem))
            raise

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rejected and not problems


# ---- semcachectl ----

def test_semcachectl_says_it_too(daemon, client):
    ctl = caller(daemon.socket_path)
    entry = stored(daemon, client)
    code, out, err = ctl("reject", entry, WORDING)
    assert code == 0 and "rejected" in out, err
    assert is_rejected(client)
    assert ctl("undo", entry, WORDING)[0] == 0
    assert client.lookup(WORDING)["tier"] == "semantic"
    code, out, _err = ctl("accept", "--json", entry, "-", stdin="Gone for good?\n")
    assert code == 0 and json.loads(out)["alias"]
    assert client.lookup("Gone for good?")["entry"] == entry
    for verdict in ("right", "wrong", "undo"):
        assert json.loads(ctl("feedback", "-j", entry, SECOND, verdict)[1])["verdict"] == verdict
    assert [ctl(*words)[0] for words in (("reject",), ("reject", entry), ("feedback", entry, SECOND),
                                         ("feedback", entry, SECOND, "maybe"), ("reject", entry, "a", "b"),
                                         ("reject", UNKNOWN, SECOND), ("reject", "12", SECOND))] == \
        [64, 64, 64, 64, 64, 1, 65]


def test_semcachectl_accepts_within_the_scope_of_the_entry_only(daemon, client):
    ctl = caller(daemon.socket_path)
    entry = json.loads(ctl("ask", "--json", "-s", "Be short.", "-p", "temperature=0", QUESTION)[1])["entry"]
    daemon.settle()
    assert ctl("accept", entry, SECOND)[0] == 65
    assert ctl("accept", entry, "-s", "Be short.", "-p", "temperature=1", SECOND)[0] == 65
    assert ctl("accept", entry, "-s", "Be short.", SECOND)[0] == 0
    hit = ctl("lookup", "--json", "-s", "Be short.", "-p", "temperature=0", "-t", "1", SECOND)[1]
    assert json.loads(hit)["entry"] == entry
