"""Several daemons on one Redis agree: what one adds, aliases, invalidates or flushes, the others follow by the log."""
import random
import time

import pytest

from harness.waiting import eventually
from upstream import holds

QUESTION = "Do two daemons agree on this?"
WORDING = "Is there agreement between two daemons?"
FOLLOW_S = 0.1


@pytest.fixture
def pair(make_daemon, redis, upstream):
    """Two running daemons on one Redis."""
    upstream.vectors.near(WORDING, QUESTION, 0.96)
    return [make_daemon(name, redis, upstream).configure("redis", timeout_ms="300").start() for name in ("a", "b")]


def follows(client, question, tier, **params):
    """Until the look-up gives this tier."""
    return eventually(lambda: (r := client.lookup(question, **params))["tier"] == tier and r, f"{question!r} to be {tier}")


def test_what_one_adds_the_other_serves_by_identity_and_by_meaning(pair):
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "yes")
    assert two.lookup(QUESTION)["answer"] == "yes"
    assert follows(two, WORDING, "semantic")["original_query"] == QUESTION


def test_what_one_generates_the_other_serves(pair, upstream):
    one, two = (daemon.client() for daemon in pair)
    one.ask(QUESTION)
    pair[0].settle()
    assert two.ask(QUESTION)["tier"] == "exact"
    follows(two, WORDING, "semantic")
    follows(two, QUESTION, "memory")
    assert len(upstream.chats) == 1


def test_an_alias_of_one_is_served_by_the_other(pair, upstream):
    one, two = (daemon.client() for daemon in pair)
    one.ask(QUESTION)
    one.ask(WORDING)
    pair[0].settle()
    found = two.lookup(WORDING)
    assert (found["tier"], found["original_query"]) == ("exact", QUESTION)
    assert found["similarity"] == pytest.approx(0.96, abs=1e-5)
    assert len(upstream.embedded_texts) == 2


@pytest.mark.parametrize("selector", ["entry", "question", "tag", "namespace"])
def test_what_one_invalidates_the_other_forgets(pair, selector):
    one, two = (daemon.client() for daemon in pair)
    entry = one.ask(QUESTION, tags=["t"])["entry"]
    pair[0].settle()
    assert two.ask(QUESTION)["tier"] == "exact"
    follows(two, WORDING, "semantic")
    two.ask(WORDING)
    follows(two, WORDING, "memory")
    value = {"entry": entry, "question": QUESTION, "tag": "t", "namespace": "default"}[selector]
    one.call("invalidate", **{selector: value})
    follows(two, QUESTION, "miss")
    assert follows(two, WORDING, "miss")["best_query"] is None


def test_what_one_flushes_the_other_forgets(pair):
    one, two = (daemon.client() for daemon in pair)
    for namespace in ("default", "other"):
        one.ask(QUESTION, namespace=namespace)
        two.ask(QUESTION, namespace=namespace)
    one.call("flush", namespace="other")
    follows(two, QUESTION, "miss", namespace="other")
    follows(two, QUESTION, "memory")
    one.call("flush")
    follows(two, QUESTION, "miss")


def test_what_one_overwrites_the_other_serves_anew(pair):
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "the old answer")
    assert two.lookup(QUESTION)["answer"] == "the old answer"
    two.ask(WORDING)
    one.add(QUESTION, "the new answer")
    eventually(lambda: two.lookup(QUESTION)["answer"] == "the new answer", "the new answer")
    eventually(lambda: two.lookup(WORDING).get("answer") == "the new answer", "the new answer for the other wording")


def test_a_read_that_overlaps_an_invalidate_does_not_put_the_entry_back(pair, redis, upstream):
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "doomed")
    for _ in range(50):
        one.add(QUESTION, "doomed")
        reading = two.start_all("lookup", [{"prompt": QUESTION}] * 5)
        removing = one.start("invalidate", question=QUESTION)
        reading += two.start_all("lookup", [{"prompt": QUESTION}] * 5)
        removing.wait()
        for request in reading:
            request.wait()
        follows(two, QUESTION, "miss")
        assert one.lookup(QUESTION)["tier"] == "miss"


def test_an_answer_in_the_air_at_one_that_the_other_flushed_is_dead_on_arrival(pair, upstream, redis):
    one, two = (daemon.client() for daemon in pair)
    one.ask("something to be flushed")
    upstream.when(QUESTION, holds)
    request = one.stream(QUESTION)
    chat = upstream.wait_chat(QUESTION)
    two.call("flush")
    follows(one, "something to be flushed", "miss")
    chat.token("too late").finish()
    assert request.answer == "too late"
    assert one.lookup(QUESTION)["tier"] == "miss"
    assert two.lookup(QUESTION)["tier"] == "miss"


def test_a_write_queued_while_redis_was_away_is_dead_on_arrival_if_its_namespace_was_flushed(pair, redis, upstream):
    """The first daemon is stopped while it holds queued writes; the second flushes meanwhile."""
    first, second = pair
    one, two = first.client(), second.client()
    one.ask("before everything")
    two.ask("before everything")
    redis.freeze()
    for i in range(4):
        one.ask(f"queued answer {i}")
    first.wait_part("redis", "down")
    first.freeze()
    redis.thaw()
    second.wait_part("redis", "up")
    two.call("flush")
    first.thaw()
    first.wait_part("redis", "up")
    eventually(lambda: first.stats()["gauges"]["write_queue_writes"] == 0, "the queue to be written")
    for i in range(4):
        follows(one, f"queued answer {i}", "miss")
        assert two.lookup(f"queued answer {i}")["tier"] == "miss"
    first.restart()
    second.restart()
    for daemon in pair:
        client = daemon.client()
        for i in range(4):
            assert client.lookup(f"queued answer {i}")["tier"] == "miss"


def test_deleting_the_generation_key_revives_nothing(pair, redis):
    one, two = (daemon.client() for daemon in pair)
    one.ask(QUESTION)
    two.ask(WORDING)
    entries = {key: redis.hash(key) for key in redis.keys("semcache:entry:*")}
    one.call("flush")
    redis.command("DEL", "semcache:generation:default")
    for key, fields in entries.items():  # what a replica or an undelete might bring back
        redis.command("HSET", key, *[part for pair_ in fields.items() for part in pair_])
    for daemon in pair:
        daemon.restart()
        client = daemon.client()
        assert client.lookup(QUESTION)["tier"] == "miss"
        assert client.lookup(WORDING)["tier"] == "miss"


def test_losing_the_generation_key_kills_what_was_stored_before(daemon, redis):
    daemon.client().ask(QUESTION)
    redis.command("DEL", "semcache:generation:default")
    daemon.restart()
    assert daemon.client().ask(QUESTION)["tier"] == "upstream"
    assert daemon.client().ask(QUESTION)["tier"] == "memory"


def test_a_daemon_that_was_stopped_catches_up(pair):
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "before")
    assert two.lookup(QUESTION)["answer"] == "before"
    pair[1].freeze()
    one.add(QUESTION, "after")
    one.add("another question meanwhile", "x")
    pair[1].thaw()
    eventually(lambda: two.lookup(QUESTION)["answer"] == "after", "it to catch up")


def test_a_trimmed_log_means_reading_everything_again(pair, redis, upstream):
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "removed while nobody looked")
    assert two.lookup(QUESTION)["tier"] == "exact"
    pair[1].freeze()
    one.call("invalidate", question=QUESTION)
    one.add("what came later", "x")
    redis.command("XTRIM", "semcache:log", "MAXLEN", "0")
    upstream.vectors.near("what came later, reworded", "what came later", 0.97)
    pair[1].thaw()
    follows(two, QUESTION, "miss")
    follows(two, "what came later, reworded", "semantic")
    assert pair[1].counters()["log_reloads"] >= 1


def test_another_redis_in_its_place_means_reading_everything_again(pair, redis):
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "known to the first Redis only")
    assert two.lookup(QUESTION)["answer"]
    redis.kill()
    for daemon in pair:
        daemon.wait_part("redis", "down")
    redis.start()
    for daemon in pair:
        daemon.wait_part("redis", "up")
    one.add("new in the second Redis", "x")
    follows(two, "new in the second Redis", "exact")
    one.call("invalidate", question=QUESTION)
    follows(one, QUESTION, "miss")
    follows(two, QUESTION, "miss")


def test_the_log_holds_no_text_and_no_vector(pair, redis):
    one = pair[0].client()
    one.ask(QUESTION, tags=["t"])
    one.ask(WORDING)
    one.call("invalidate", question=QUESTION)
    one.call("flush")
    records = redis.command("XRANGE", "semcache:log", "-", "+")
    assert records
    for _record, flat in records:
        fields = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        assert set(fields) <= {"op", "key", "namespace", "generation", "origin"}
        assert fields["op"] in (b"put", b"alias", b"delete", b"forget", b"flush")
        assert QUESTION.encode() not in b"".join(fields.values())


class Model:
    """What each question's answer must be, by what the daemons have acknowledged; None = no answer."""

    def __init__(self, daemons, seed=20261124, questions=40):
        self.random = random.Random(seed)
        self.questions = [f"question number {i} of the random run" for i in range(questions)]
        self.clients = [daemon.client() for daemon in daemons]
        self.expected = {}
        self.removed_at = {}
        self.number = 0

    def step(self):
        """One random add or invalidate, acknowledged."""
        client = self.random.choice(self.clients)
        question = self.random.choice(self.questions)
        self.number += 1
        if self.random.random() < 0.6:
            answer = f"answer {self.number}"
            client.add(question, answer)
            self.expected[question] = answer
            self.removed_at.pop(question, None)
        else:
            client.call("invalidate", question=question)
            self.expected[question] = None
            self.removed_at[question] = time.monotonic()

    def look(self):
        """A random look-up at a random daemon. What was invalidated more than 100 ms ago may not be served any more."""
        question = self.random.choice(self.questions)
        asked_at = time.monotonic()
        result = self.random.choice(self.clients).lookup(question, mode="exact")
        removed_at = self.removed_at.get(question)
        if removed_at is not None and asked_at > removed_at + FOLLOW_S:
            assert result["tier"] == "miss", f"{question!r} was served {asked_at - removed_at:.3f} s after its invalidate"

    def settle(self):
        """In the end both daemons say what was said last."""
        for client in self.clients:
            for question in self.questions:
                wanted = self.expected.get(question)
                eventually(lambda c=client, q=question, w=wanted: c.lookup(q, mode="exact").get("answer") == w,
                           f"{question!r} to be {wanted!r}")


def test_a_thousand_random_adds_and_invalidates(pair):
    model = Model(pair)
    for _ in range(1000):
        model.step()
        model.look()
    model.settle()
    for daemon in pair:
        daemon.restart()
    model.clients = [daemon.client() for daemon in pair]
    model.settle()


def test_a_thousand_random_adds_and_invalidates_with_redis_stopped_midway(pair, redis):
    """While Redis is stopped nobody is connected; each daemon keeps its own word, and once Redis is back they agree."""
    model = Model(pair, seed=7)
    for _ in range(400):
        model.step()
        model.look()
    redis.freeze()
    clients, model.clients = model.clients, model.clients[:1]
    for i in range(4):
        clients[0].lookup(f"makes it see that Redis is away {i}", mode="exact")
    pair[0].wait_part("redis", "down")
    for _ in range(200):
        model.step()
        question = model.random.choice(model.questions)
        if question in model.expected and model.expected[question] is None:
            assert clients[0].lookup(question, mode="exact")["tier"] == "miss"
    redis.thaw()
    for daemon in pair:
        daemon.wait_part("redis", "up")
    eventually(lambda: pair[0].stats()["gauges"]["write_queue_writes"] == 0, "the queue to be written")
    model.clients = clients
    model.settle()
    for _ in range(400):
        model.step()
        model.look()
    model.settle()
