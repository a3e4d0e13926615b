"""A share of the hits by meaning is asked of the model too, behind the callers: compared, counted, within a budget, and in nobody's
way; where the hits of a certificate turn out worse than it promised, the certificate is withdrawn."""
import os

import pytest

from harness.waiting import eventually
from test_semcachectl import caller
from test_settings import certificate, certificate_text
from test_shadow import ALIKE, ANSWER, ASKED, FIRST, OTHER, estimates, labels, wait_no_reviews, wait_reviewed
from upstream import answers, fails, holds


@pytest.fixture
def audited(make_daemon, redis, upstream):
    """A function that makes a daemon that audits all hits, where FIRST and ASKED are 0.97 apart."""
    upstream.vectors.near(ASKED, FIRST, 0.97)

    def make(**keys):
        daemon = make_daemon(redis=redis, upstream=upstream,
                             namespace__default={"audit": "1", "alias_ttl": "0", **keys})
        return daemon.configure("decisions", directory=os.path.join(daemon.directory, "decisions"))
    return make


def store_first(daemon, upstream, **params):
    """Has FIRST stored with ANSWER. Returns the result."""
    upstream.when(FIRST, answers(ANSWER))
    return daemon.client().ask(FIRST, **params)


@pytest.mark.parametrize("fresh, similarity, outcome", [(ANSWER, None, "same"), (ALIKE, 0.9, "same"), (OTHER, 0.3, "different")])
def test_a_hit_is_compared_with_what_the_model_says(audited, redis, upstream, fresh, similarity, outcome):
    if similarity is not None:
        upstream.vectors.near(fresh, ANSWER, similarity)
    daemon = audited().start()
    first = store_first(daemon, upstream)
    upstream.when(ASKED, answers(fresh))
    client = daemon.client()
    hit = client.ask(ASKED)
    assert (hit["tier"], hit["answer"]) == ("semantic", ANSWER)
    counters = wait_reviewed(daemon)
    assert (counters[f"reviews_{outcome}"], counters["audit_calls"], counters["api_calls"]) == (1, 1, 1)
    band = estimates(daemon, "audit")[0.95, 1]
    assert (band["compared"], band["different"]) == (1, int(outcome == "different"))
    [label] = labels(redis)
    assert (label["source"], label["right"], label["entry"]) == ("audit", str(int(outcome == "same")), first["entry"])
    review = client.call("explain", request=hit["request"])["review"]
    assert (review["source"], review["outcome"], review["stored"], review["fresh"]) == ("audit", outcome, ANSWER, fresh)
    # The answer of an audit is never stored.
    assert client.ask(ASKED)["answer"] == ANSWER
    assert len(redis.keys("semcache:entry:*")) == 1
    sent = [chat.body for chat in upstream.chats_of(ASKED)][0]
    assert sent["messages"] == [{"role": "user", "content": ASKED}] and sent["stream"] is True


def test_the_caller_never_waits(audited, upstream):
    daemon = audited().start()
    store_first(daemon, upstream)
    upstream.when(ASKED, holds)
    client = daemon.client()
    assert client.ask(ASKED)["tier"] == "semantic"
    chat = upstream.wait_chat(ASKED)
    assert client.ask(ASKED)["tier"] == "semantic"
    assert client.ask(FIRST)["tier"] == "memory"
    chat.token(ANSWER)
    chat.finish()
    second = upstream.wait_chat(ASKED, 2)
    second.token(ANSWER)
    second.finish()
    assert wait_reviewed(daemon, 2)["reviews_same"] == 2


def test_at_most_four_ask_at_once_and_others_wait(audited, upstream):
    daemon = audited().start()
    store_first(daemon, upstream)
    upstream.when(ASKED, holds)
    client = daemon.client()
    for _ in range(6):
        assert client.ask(ASKED)["tier"] == "semantic"
    upstream.wait_chat(ASKED, 4)
    client.call("ping")
    assert daemon.stats()["gauges"]["reviews"] == 6
    assert len(upstream.chats_of(ASKED)) == 4
    for i in range(6):
        chat = upstream.wait_chat(ASKED, i + 1)
        chat.token(ANSWER)
        chat.finish()
    assert wait_reviewed(daemon, 6)["reviews_same"] == 6


def test_an_audit_makes_way_for_a_caller(audited, upstream):
    daemon = audited().configure("upstream main", max_transfers="1").start()
    store_first(daemon, upstream)
    upstream.when(ASKED, holds)
    client = daemon.client()
    assert client.ask(ASKED)["tier"] == "semantic"
    held = upstream.wait_chat(ASKED)
    assert client.ask("How do I bake a plain bread?")["tier"] == "upstream"
    held.wait_closed_by_client()
    counters = daemon.counters()
    assert (counters["reviews_dropped"], counters["api_calls"], counters["api_failures"]) == (1, 2, 0)


def test_an_audit_waits_while_callers_use_the_upstream(audited, upstream):
    daemon = audited().configure("upstream main", max_transfers="1").start()
    store_first(daemon, upstream)
    upstream.when("bread", holds)
    upstream.when(ASKED, answers(ANSWER))
    client = daemon.client()
    asking = client.start_ask("How do I bake a plain bread?")
    held = upstream.wait_chat("bread")
    assert client.ask(ASKED)["tier"] == "semantic"
    client.call("ping")
    assert upstream.chats_of(ASKED) == []
    held.token("Slowly.")
    held.finish()
    assert asking.wait()["answer"] == "Slowly."
    assert wait_reviewed(daemon)["reviews_same"] == 1


def test_the_days_budget_is_kept(audited, upstream):
    daemon = audited(audit_calls="2").start()
    store_first(daemon, upstream)
    client = daemon.client()
    for _ in range(5):
        assert client.ask(ASKED)["tier"] == "semantic"
    wait_reviewed(daemon, 2)
    counters = daemon.counters()
    assert (counters["audit_calls"], counters["audits_over_budget"]) == (2, 3)
    assert len(upstream.chats_of(ASKED)) == 2


def test_without_a_share_nothing_is_audited(audited, upstream):
    daemon = audited(audit="0").start()
    store_first(daemon, upstream)
    client = daemon.client()
    assert client.ask(ASKED)["tier"] == "semantic"
    assert daemon.stats()["gauges"]["reviews"] == daemon.counters()["audit_calls"] == 0


def test_a_share_is_a_share(audited, upstream):
    daemon = audited(audit="0.5", audit_calls="1000").start()
    store_first(daemon, upstream)
    client = daemon.client()
    for _ in range(60):
        assert client.ask(ASKED)["tier"] == "semantic"
        wait_no_reviews(daemon)
    # Outside of this with a probability of 1e-9.
    assert 7 <= daemon.counters()["audit_calls"] <= 53


def test_hits_by_alias_are_audited_from_memory_and_redis(audited, redis, upstream):
    daemon = audited(alias_ttl="3600").start()
    store_first(daemon, upstream)
    upstream.when(ASKED, answers(ANSWER))
    client = daemon.client()
    assert [client.ask(ASKED)["tier"] for _ in range(2)] == ["semantic", "memory"]
    assert wait_reviewed(daemon, 2)["audit_calls"] == 2
    assert daemon.restart().client().ask(ASKED)["tier"] == "exact"
    assert wait_reviewed(daemon)["reviews_same"] == 1
    assert [label["source"] for label in labels(redis)] == ["audit"] * 3


def test_what_is_not_to_be_asked_or_kept_is_not_audited(audited, upstream):
    daemon = audited(alias_ttl="3600").start()
    store_first(daemon, upstream)
    client = daemon.client()
    assert client.lookup(ASKED)["tier"] == "semantic"
    assert client.ask(ASKED, cache="only")["tier"] == "semantic"
    assert client.ask(ASKED, cache="no_store")["tier"] in ("semantic", "memory")
    assert client.ask(FIRST)["tier"] == "memory"
    assert daemon.stats()["gauges"]["reviews"] == daemon.counters()["audit_calls"] == 0


@pytest.mark.parametrize("fault", ["status", "cut"])
def test_an_upstream_that_fails_is_counted_and_nobody_is_told(audited, redis, upstream, fault):
    daemon = audited().start()
    store_first(daemon, upstream)
    upstream.when(ASKED, fails(500) if fault == "status" else (lambda chat: (chat.token("Air "), chat.cut())))
    client = daemon.client()
    assert client.ask(ASKED)["answer"] == ANSWER
    eventually(lambda: daemon.counters()["audit_failures"] == 1, "the audit to fail")
    wait_no_reviews(daemon)
    counters = daemon.counters()
    assert (counters["api_failures"], counters["audit_calls"]) == (0, 1)
    assert labels(redis) == [] and daemon.stats()["errors"]["UPSTREAM"] == 0


def test_an_answer_that_never_ends_is_cut_off(audited, redis, upstream):
    daemon = audited().start()
    store_first(daemon, upstream)
    upstream.when(ASKED, holds)
    client = daemon.client()
    client.ask(ASKED)
    chat = upstream.wait_chat(ASKED)
    chat.token(*["words " * 1000] * 12)
    chat.wait_closed_by_client()
    assert wait_reviewed(daemon)["reviews_not_comparable"] == 1
    assert labels(redis) == []


@pytest.mark.parametrize("removal", ["flush", "tag"])
def test_a_removal_midway_ends_the_audit(audited, redis, upstream, removal):
    daemon = audited().start()
    store_first(daemon, upstream, tags=["sky"])
    upstream.when(ASKED, holds)
    client = daemon.client()
    client.ask(ASKED)
    chat = upstream.wait_chat(ASKED)
    if removal == "flush":
        client.call("flush", namespace="default")
    else:
        client.call("invalidate", tag="sky")
    chat.wait_closed_by_client()
    wait_no_reviews(daemon)
    assert labels(redis) == [] and daemon.counters()["reviews_dropped"] == 1


def test_a_client_that_leaves_does_not_end_it(audited, upstream):
    daemon = audited().start()
    store_first(daemon, upstream)
    upstream.when(ASKED, holds)
    leaving = daemon.client()
    leaving.ask(ASKED)
    chat = upstream.wait_chat(ASKED)
    leaving.close()
    chat.token(ANSWER)
    chat.finish()
    assert wait_reviewed(daemon)["reviews_same"] == 1


def test_the_end_of_the_daemon_does_not_wait_for_an_audit(audited, upstream):
    daemon = audited().start()
    store_first(daemon, upstream)
    upstream.when(ASKED, holds)
    client = daemon.client()
    client.ask(ASKED)
    chat = upstream.wait_chat(ASKED)
    daemon.stop()
    chat.wait_closed_by_client()


def test_what_the_comparison_gets_wrong_itself_is_taken_off(audited, upstream):
    upstream.vectors.near(OTHER, ANSWER, 0.3)
    daemon = audited().start()
    store_first(daemon, upstream)
    client = daemon.client()
    for fresh in (ANSWER, ANSWER, ANSWER, OTHER):
        upstream.when(ASKED, answers(fresh))
        client.ask(ASKED)
        wait_no_reviews(daemon)
    plain = estimates(daemon, "audit")[-1, 1]
    assert (plain["compared"], plain["different"], plain["false_hit_rate"]) == (4, 1, 0.25)
    client.call("config", set={"comparator_false_same": "10/100", "comparator_false_different": "20/100"})
    reviews = daemon.stats()["namespaces"]["default"]["reviews"]
    assert reviews["comparator"] == {"false_same": {"wrong": 10, "count": 100}, "false_different": {"wrong": 20, "count": 100}}
    corrected = estimates(daemon, "audit")[-1, 1]
    assert corrected["false_hit_rate"] == pytest.approx((0.25 - 0.2) / (1 - 0.1 - 0.2))
    assert corrected["low"] <= plain["low"] and corrected["high"] >= plain["high"]


# ---- drift ----

def drifting(audited, upstream, **certified):
    """A daemon in mode calibrated with a certificate in force, FIRST stored; its client."""
    daemon = audited(mode="calibrated", audit_calls="1000").start()
    client = daemon.client()
    client.call("config", certificate=certificate_text(client, **certified))
    assert certificate(client)["bound"] == certified.get("bound", 0.02)
    store_first(daemon, upstream)
    return daemon, client


def test_drift_withdraws_the_certificate(audited, redis, upstream):
    daemon, client = drifting(audited, upstream)
    upstream.vectors.near(ASKED, FIRST, 0.92)
    upstream.vectors.near(OTHER, ANSWER, 0.3)
    for fresh in (ANSWER, ANSWER, ANSWER, OTHER, OTHER):
        assert "why" not in certificate(client) or certificate(client)["why"] is None
        upstream.when(ASKED, answers(fresh))
        assert client.ask(ASKED)["tier"] == "semantic"
        wait_no_reviews(daemon)
    assert certificate(client)["why"] == "drift"
    assert "hits=5 different=2" in daemon.wait_log("certificate_drift namespace=default")
    daemon.wait_log('certificate_misfit namespace=default why="drift"')
    assert daemon.counters()["certificates_withdrawn"] == 1
    assert certificate(daemon.restart().client())["why"] == "drift"


def test_hits_as_good_as_promised_leave_the_certificate_alone(audited, upstream):
    daemon, client = drifting(audited, upstream, bound=0.25)
    upstream.vectors.near(OTHER, ANSWER, 0.3)
    for i in range(20):
        upstream.when(ASKED, answers(OTHER if i % 5 == 4 else ANSWER))
        assert client.ask(ASKED)["tier"] == "semantic"
        wait_no_reviews(daemon)
    assert daemon.counters()["reviews_different"] == 4
    assert daemon.counters()["certificates_withdrawn"] == 0


def test_what_the_comparison_gets_wrong_is_no_drift(audited, upstream):
    daemon, client = drifting(audited, upstream)
    client.call("config", set={"comparator_false_same": "0/100", "comparator_false_different": "60/100"})
    upstream.vectors.near(OTHER, ANSWER, 0.3)
    for fresh in (ANSWER, ANSWER, ANSWER, OTHER, OTHER):
        upstream.when(ASKED, answers(fresh))
        assert client.ask(ASKED)["tier"] == "semantic"
        wait_no_reviews(daemon)
    assert daemon.counters()["certificates_withdrawn"] == 0


def test_people_and_prometheus_see_the_estimates(audited, upstream):
    upstream.vectors.near(OTHER, ANSWER, 0.3)
    daemon = audited().start()
    store_first(daemon, upstream)
    upstream.when(ASKED, answers(OTHER))
    hit = daemon.client().ask(ASKED)
    wait_reviewed(daemon)
    ctl = caller(daemon.socket_path)
    code, out, err = ctl("stats")
    assert code == 0, err
    [row] = [line.split() for line in out.splitlines() if "0.95 to 1.00" in line]
    assert row[:2] == ["default", "audit"] and row[5:8] == ["1", "1", "100.00"] and row[-1] == "unmeasured"
    daemon.client().call("config", set={"comparator_false_same": "1/10", "comparator_false_different": "1/50"})
    [row] = [line for line in ctl("stats")[1].splitlines() if "0.95 to 1.00" in line]
    assert row.endswith("  10.0, 2.0")
    daemon.client().call("config", unset=["comparator_false_same", "comparator_false_different"])
    code, out, err = ctl("stats", "--prometheus")
    assert code == 0, err
    band = '{namespace="default",source="audit",from="0.95",to="1"}'
    assert f"semcache_review_compared_total{band} 1\n" in out and f"semcache_review_false_hit_rate{band} 1\n" in out
    assert 'semcache_review_compared_total{namespace="default",source="audit",from="-1"' not in out
    code, out, err = ctl("explain", "--request", str(hit["request"]))
    assert code == 0, err
    for part in ("audit: the model's answer is different, similarity 0.3", ANSWER, OTHER):
        assert part in out, out


def test_of_several_that_wait_none_is_forgotten(audited, upstream):
    """Two upstreams: one is busy with a caller, the other is free."""
    daemon = audited().configure("upstream main", max_transfers="1", models="test-model").configure(
        "upstream second", url="http://second.test/v1", unix_socket=upstream.socket_path, models="other-model").start()
    upstream.when(FIRST, answers(ANSWER))
    client = daemon.client()
    for model in ("test-model", "other-model"):
        client.ask(FIRST, model=model)
    upstream.when("bread", holds)
    upstream.when(ASKED, answers(ANSWER))
    asking = client.start_ask("How do I bake a plain bread?", model="test-model")
    held = upstream.wait_chat("bread")
    for model in ("test-model", "other-model"):
        assert client.ask(ASKED, model=model)["tier"] == "semantic"
    wait_reviewed(daemon)
    held.token("Slowly.")
    held.finish()
    assert asking.wait()["answer"] == "Slowly."
    assert wait_reviewed(daemon, 2)["reviews_same"] == 2
