"""Mode shadow measures what it does not serve: the answer of the entry that would have been served is compared with the model's."""
import os

import pytest

from harness.waiting import eventually
from test_decision_log import wait_purged, wait_written
from upstream import answers, holds

FIRST, ASKED = "Why is the sky blue?", "What makes the sky look blue?"
ANSWER, ALIKE, OTHER = "Air scatters blue light most.", "Blue light is scattered most by air.", "It is painted."


@pytest.fixture
def shadow(make_daemon, redis, upstream):
    """A function that makes a daemon in mode shadow, where FIRST and ASKED are 0.97 apart."""
    upstream.vectors.near(ASKED, FIRST, 0.97)

    def make(with_redis=True, **keys):
        daemon = make_daemon(redis=redis if with_redis else None, upstream=upstream, namespace__default={"mode": "shadow", **keys})
        return daemon.configure("decisions", directory=os.path.join(daemon.directory, "decisions")).start()
    return make


def wait_reviewed(daemon, count=1):
    """Until so many comparisons have an outcome. Returns the counters."""
    def look():
        counters = daemon.counters()
        done = sum(counters[name] for name in ("reviews_same", "reviews_different", "reviews_not_comparable", "reviews_dropped"))
        return done >= count and counters
    return eventually(look, f"{count} reviews")


def wait_no_reviews(daemon):
    """Until none is under way."""
    eventually(lambda: daemon.stats()["gauges"]["reviews"] == 0, "the reviews to end")


def estimates(daemon, source="shadow", namespace="default"):
    """{(from, to): estimate} of stats."""
    reviews = daemon.stats()["namespaces"][namespace]["reviews"]
    return {(e["from"], e["to"]): e for e in reviews["estimates"] if e["source"] == source}


def labels(redis, namespace="default"):
    """The labels in Redis, oldest first."""
    found = redis.command("XRANGE", f"semcache:label:{namespace}", "-", "+")
    return [{name.decode(): value.decode() for name, value in zip(fields[::2], fields[1::2])} for _id, fields in found]


def would_be_hit(daemon, upstream, stored=ANSWER, fresh=ALIKE, **how):
    """Asks FIRST, then ASKED, which would be a hit on it. Returns both results."""
    upstream.when(FIRST, answers(stored))
    upstream.when(ASKED, answers(fresh, **how))
    client = daemon.client()
    first = client.ask(FIRST)
    asked = client.ask(ASKED)
    assert (asked["tier"], asked["reason"], asked["answer"]) == ("upstream", "shadow", fresh)
    return first, asked


@pytest.mark.parametrize("fresh, similarity, outcome", [
    (ANSWER, None, "same"), (f" {ANSWER}\n", None, "same"), (ALIKE, 0.9, "same"), (OTHER, 0.3, "different")])
def test_a_would_be_hit_is_compared_with_the_models_answer(shadow, redis, upstream, fresh, similarity, outcome):
    if similarity is not None:
        upstream.vectors.near(fresh, ANSWER, similarity)
    daemon = shadow()
    first, asked = would_be_hit(daemon, upstream, fresh=fresh)
    counters = wait_reviewed(daemon)
    assert counters[f"reviews_{outcome}"] == 1
    band = estimates(daemon)[0.95, 1]
    assert (band["compared"], band["different"]) == (1, int(outcome == "different"))
    assert estimates(daemon)[-1, 1] == {**band, "from": -1}
    assert band["false_hit_rate"] == int(outcome == "different") and band["low"] <= band["false_hit_rate"] <= band["high"]
    assert daemon.stats()["namespaces"]["default"]["reviews"]["comparator"] == "unmeasured"
    daemon.settle()
    [label] = labels(redis)
    assert (label["source"], label["right"], label["entry"]) == ("shadow", str(int(outcome == "same")), first["entry"])
    assert float(label["similarity"]) == pytest.approx(0.97, abs=1e-5)
    client = daemon.client()
    review = client.call("explain", request=asked["request"])["review"]
    assert (review["source"], review["outcome"], review["stored"], review["fresh"]) == ("shadow", outcome, ANSWER, fresh)
    assert review["similarity"] == pytest.approx(1 if similarity is None else similarity, abs=1e-5)


def test_the_entry_may_be_in_redis_only_and_labels_outlive_a_restart(shadow, redis, upstream):
    daemon = shadow()
    upstream.when(FIRST, answers(ANSWER))
    daemon.client().ask(FIRST)
    daemon.restart()
    upstream.when(ASKED, answers(OTHER))
    upstream.vectors.near(OTHER, ANSWER, 0.3)
    daemon.client().ask(ASKED)
    assert wait_reviewed(daemon)["reviews_different"] == 1
    assert len(labels(redis)) == 1
    daemon.restart()
    assert [label["right"] for label in labels(redis)] == ["0"]
    assert daemon.stats()["namespaces"] == {}


def test_without_redis_the_comparison_is_counted(shadow, upstream):
    daemon = shadow(with_redis=False)
    would_be_hit(daemon, upstream, fresh=ANSWER)
    assert wait_reviewed(daemon)["reviews_same"] == 1
    assert estimates(daemon)[0.95, 1]["compared"] == 1


def test_a_label_says_how_near_the_next_nearest_was(shadow, redis, upstream):
    third = "Why is the sea so deep and blue?"
    upstream.vectors.near(third, ASKED, 0.5)
    daemon = shadow()
    daemon.client().ask(third)
    would_be_hit(daemon, upstream, fresh=ANSWER)
    wait_reviewed(daemon)
    [label] = labels(redis)
    assert float(label["next"]) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("stored, fresh, how", [
    ("x" * 9000, ALIKE, {}), (ANSWER, "y" * 9000, {}), ("x" * 9000, "x" * 9000, {}), (ANSWER, ANSWER, {"reason": "length"}),
    ("x" * 70000, "y" * 70000, {})])
def test_what_is_too_long_or_not_whole_is_not_comparable(shadow, redis, upstream, stored, fresh, how):
    daemon = shadow()
    would_be_hit(daemon, upstream, stored, fresh, **how)
    assert wait_reviewed(daemon)["reviews_not_comparable"] == 1
    band = estimates(daemon)[0.95, 1]
    assert (band["compared"], band["not_comparable"], band["false_hit_rate"]) == (0, 1, None)
    assert labels(redis) == []


def test_of_one_flight_there_is_one_comparison(shadow, redis, upstream):
    daemon = shadow()
    client = daemon.client()
    upstream.when(FIRST, answers(ANSWER))
    client.ask(FIRST)
    upstream.when(ASKED, holds)
    asking = [client.start_ask(ASKED), client.start_ask(ASKED), daemon.client().start_ask(ASKED)]
    chat = upstream.wait_chat(ASKED)
    chat.token(ANSWER)
    chat.finish()
    for request in asking:
        assert request.wait()["answer"] == ANSWER
    assert wait_reviewed(daemon)["reviews_same"] == 1
    wait_no_reviews(daemon)
    assert len(labels(redis)) == 1


def test_a_client_that_leaves_midway_changes_nothing(shadow, redis, upstream):
    daemon = shadow()
    upstream.when(FIRST, answers(ANSWER))
    daemon.client().ask(FIRST)
    upstream.when(ASKED, holds)
    leaving = daemon.client()
    leaving.start_ask(ASKED)
    chat = upstream.wait_chat(ASKED)
    leaving.close()
    eventually(lambda: daemon.counters()["flights_detached"] == 1, "the flight to go on alone")
    chat.token(ANSWER)
    chat.finish()
    assert wait_reviewed(daemon)["reviews_same"] == 1


def test_nothing_is_reviewed_that_is_not_to_be_kept(shadow, redis, upstream):
    daemon = shadow()
    client = daemon.client()
    client.ask(FIRST)
    client.ask(ASKED, cache="no_store")
    client.lookup(ASKED)
    client.ask(ASKED, mode="exact")
    counters = daemon.counters()
    assert daemon.stats()["gauges"]["reviews"] == 0
    assert sum(counters[f"reviews_{outcome}"] for outcome in ("same", "different", "not_comparable", "dropped")) == 0


REMOVALS = {
    "flush": lambda client, first: client.call("flush", namespace="default"),
    "tag": lambda client, first: client.call("invalidate", tag="sky"),
    "entry": lambda client, first: client.call("invalidate", entry=first["entry"]),
    "question": lambda client, first: client.call("invalidate", question=FIRST),
    "asked": lambda client, first: client.call("invalidate", question=ASKED),
}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_removal_midway_ends_the_review(shadow, redis, upstream, removal, restarted):
    daemon = shadow()
    upstream.when(FIRST, answers(ANSWER))
    first = daemon.client().ask(FIRST, tags=["sky"])
    if restarted:
        daemon.restart()
    upstream.when(ASKED, answers(ALIKE))
    upstream.when_embedding(ALIKE, holds)
    client = daemon.client()
    client.ask(ASKED)
    embedding = upstream.wait_embedding(ALIKE)
    REMOVALS[removal](client, first)
    eventually(lambda: daemon.counters()["reviews_dropped"] == 1, "the review to end")
    embedding.answer()
    wait_no_reviews(daemon)
    assert labels(redis) == []
    assert daemon.counters()["reviews_same"] == 0


def test_an_embedder_that_fails_leaves_nothing(shadow, redis, upstream):
    daemon = shadow()
    upstream.when_embedding(ALIKE, lambda embedding: embedding.fail(500))
    would_be_hit(daemon, upstream)
    assert wait_reviewed(daemon)["reviews_dropped"] == 1
    assert labels(redis) == []


def test_texts_are_left_out_of_the_log_where_they_are_to_be(shadow, upstream):
    daemon = shadow()
    daemon.configure("decisions", texts="off")
    daemon.write_config()
    daemon.client().call("reload")
    _first, asked = would_be_hit(daemon, upstream, fresh=ANSWER)
    wait_reviewed(daemon)
    record = daemon.client().call("explain", request=asked["request"])
    assert record["review"]["outcome"] == "same" and record["review"]["stored"] is record["review"]["fresh"] is None


def test_more_than_fit_are_left_out(shadow, upstream):
    daemon = shadow()
    client = daemon.client()
    upstream.when(FIRST, answers(ANSWER))
    client.ask(FIRST)
    upstream.when(None, answers(ALIKE))
    upstream.when_embedding(ANSWER, holds)
    questions = [upstream.vectors.near("What makes the sky look " + "so " * i + "blue?", FIRST, 0.95) for i in range(70)]
    for question in questions:
        assert client.ask(question)["answer"] == ALIKE
    assert daemon.stats()["gauges"]["reviews"] == 64
    assert daemon.counters()["reviews_dropped"] == 6
    upstream.forget_rules()
    for embedding in upstream.embeddings_of(ANSWER):
        embedding.answer()
    wait_no_reviews(daemon)
    assert daemon.counters()["reviews_dropped"] == 6


@pytest.mark.parametrize("removal", ["flush", "tag", "entry"])
def test_the_log_forgets_the_answers_with_what_is_removed(shadow, redis, upstream, removal):
    daemon = shadow()
    daemon.log_directory = daemon.config["decisions"]["directory"]
    upstream.when(FIRST, answers(ANSWER))
    first = daemon.client().ask(FIRST, tags=["sky"])
    upstream.when(ASKED, answers(ALIKE))
    client = daemon.client()
    asked = client.ask(ASKED)
    wait_reviewed(daemon)
    for text in (ANSWER, ALIKE):
        wait_written(daemon, text)
    REMOVALS[removal](client, first)
    for text in (ANSWER, ALIKE):
        wait_purged(daemon, text)
    client.fails("explain", "NOT_FOUND", request=asked["request"])
