"""The embedder is gone, slow or wrong: questions go on without meaning, are stored for exact hits, and it is found again."""
import math
import os
import subprocess
import sys

import pytest

from harness import process
from harness.waiting import DEADLINE_S
from upstream import fails, holds

QUESTION = "What if nobody can embed this?"
WORDING = "And if this cannot be embedded?"


def assert_went_on_without(client, question=QUESTION):
    """Answered by the model, stored for exact hits."""
    result = client.ask(question)
    assert (result["tier"], result["reason"], result["best_similarity"]) == ("upstream", "embedder_unavailable", 0.0)
    assert result["entry"]
    assert client.ask(question)["tier"] == "memory"


@pytest.fixture
def apart(make_daemon, redis, upstream, place):
    """(daemon, embedder process): the embedder is a process of its own, which can be stopped and killed."""
    path = os.path.join(place, "embedder.sock")
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    embedder = subprocess.Popen([sys.executable, "-m", "upstream", "--socket", path], cwd=tests, stdout=subprocess.PIPE,
                                stdin=subprocess.DEVNULL)
    assert embedder.stdout.readline().startswith(b"ready")
    daemon = make_daemon(redis=redis, upstream=upstream, embedder={"unix_socket": path, "timeout_ms": "300"}).start()
    yield daemon, embedder
    if embedder.poll() is None:
        process.thaw(embedder.pid)
        embedder.terminate()
    embedder.wait(DEADLINE_S)
    embedder.stdout.close()


def test_with_a_stopped_embedder_only_the_first_3_calls_wait_for_it(apart):
    daemon, embedder = apart
    client = daemon.client()
    client.ask("before it stops")
    process.freeze(embedder.pid)
    for i in range(3):
        assert client.ask(f"waits for the embedder {i}")["timing"]["embedding_ms"] > 0
    part = daemon.wait_part("embedder", "down")
    assert part["error"]
    failures = daemon.counters()["embedding_failures"]
    for i in range(50):
        result = client.ask(f"does not wait {i}")
        assert (result["tier"], result["reason"], result["timing"]["embedding_ms"]) == ("upstream", "embedder_unavailable", 0.0)
    assert daemon.health()["status"] == 1
    assert client.ask("does not wait 7")["tier"] == "memory"
    assert daemon.counters()["embedding_failures"] - failures <= 50
    process.thaw(embedder.pid)
    daemon.wait_part("embedder", "up")
    assert client.lookup("a question after that")["reason"] == "no_candidate" or \
        client.lookup("a question after that")["best_query"]
    assert daemon.health()["status"] == 0


def test_an_embedder_stopped_in_the_middle_of_a_request(apart):
    daemon, embedder = apart
    client = daemon.client()
    client.ask("the connection to it is open now")
    process.freeze(embedder.pid)
    requests = [client.start_ask(f"asked while it is stopped {i}") for i in range(10)]
    assert {request.wait()["tier"] for request in requests} == {"upstream"}
    process.thaw(embedder.pid)
    daemon.wait_part("embedder", "up")


def test_an_embedder_killed_in_the_middle_of_a_request(apart):
    daemon, embedder = apart
    client = daemon.client()
    process.freeze(embedder.pid)
    request = client.start_ask(QUESTION)
    client.call("ping")
    embedder.kill()
    assert request.wait()["tier"] == "upstream"
    for i in range(3):
        client.ask(f"nobody embeds this {i}")
    daemon.wait_part("embedder", "down")


def test_what_was_stored_without_meaning_is_matched_exactly_only(client, upstream):
    upstream.when_embedding(None, fails(500))
    assert_went_on_without(client)
    upstream.forget_rules()
    upstream.vectors.near(WORDING, QUESTION, 0.99)
    assert client.lookup(WORDING)["tier"] == "miss"


def test_a_refresh_brings_the_meaning_back(client, upstream):
    upstream.when_embedding(None, fails(500))
    assert_went_on_without(client)
    upstream.forget_rules()
    upstream.vectors.near(WORDING, QUESTION, 0.99)
    client.ask(QUESTION, cache="refresh")
    assert client.ask(WORDING)["tier"] == "semantic"


@pytest.mark.parametrize("act", [
    fails(429), fails(500), lambda e: e.cut(), lambda e: e.reply(200, b"no json"), lambda e: e.reply(200, {}),
    lambda e: e.reply(200, {"data": []}), lambda e: e.reply(200, {"data": [{"index": 0, "embedding": "%%%"}]}),
    lambda e: e.reply(200, {"data": [{"index": 0, "embedding": "AAA="}]}),
    lambda e: e.reply(200, {"data": [{"index": 5, "embedding": [1.0, 0.0]}]}),
    lambda e: e.reply(200, {"data": [{"index": 0, "embedding": ["a", "b"]}]}),
    lambda e: e.reply(200, {"data": [{"index": 0, "embedding": []}]}),
    lambda e: e.answer([[0.0] * 256]), lambda e: e.answer([[math.nan] * 256]), lambda e: e.answer([[math.inf] + [0.0] * 255]),
    lambda e: e.answer([[1.0] * 256] * 2), lambda e: (e.send_bytes(b"\0\0garbage\r\n\r\n"), e.cut()),
    lambda e: e.reply(200, b'{"data": [' * 1000), lambda e: e.reply(200, b"x" * 3_000_000),
])
def test_a_wrong_answer_of_the_embedder_is_no_vector(client, upstream, act):
    upstream.when_embedding(None, act)
    assert_went_on_without(client)


def test_vectors_of_another_length_are_never_compared(client, upstream):
    client.ask(QUESTION)
    upstream.when_embedding(WORDING, lambda e: e.answer([[1.0] * 128]))
    result = client.ask(WORDING)
    assert (result["tier"], result["reason"]) == ("upstream", "embedder_unavailable")


def test_vectors_that_are_no_unit_are_made_one(client, upstream):
    upstream.vectors.set(QUESTION, [3.0] + [0.0] * 255)
    upstream.vectors.set(WORDING, [0.5 * 0.96, 0.5 * 0.28] + [0.0] * 254)
    client.ask(QUESTION)
    result = client.ask(WORDING)
    assert result["tier"] == "semantic" and result["similarity"] == pytest.approx(0.96, abs=1e-5)


def test_vectors_as_arrays_are_read_too(client, upstream):
    upstream.answers_arrays = True
    upstream.vectors.near(WORDING, QUESTION, 0.93)
    client.ask(QUESTION)
    assert client.ask(WORDING)["similarity"] == pytest.approx(0.93, abs=1e-4)


def test_a_slow_embedder_delays_by_its_deadline_only(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, embedder={"timeout_ms": "100"}).start()
    upstream.when_embedding(None, holds)
    assert_went_on_without(daemon.client())
    upstream.wait_embedding().wait_closed_by_client()


def test_many_texts_go_to_the_embedder_together(client, upstream):
    upstream.when_embedding(None, holds)
    requests = client.start_all("lookup", [{"prompt": f"one of many questions {i}"} for i in range(200)])
    first = [upstream.wait_embedding(count=i + 1) for i in range(4)]
    upstream.forget_rules()
    for embedding in first:
        embedding.answer()
    for request in requests:
        assert request.wait()["tier"] == "miss"
    assert sorted(upstream.embedded_texts) == sorted(f"one of many questions {i}" for i in range(200))
    assert len(upstream.embeddings) < 40
    assert all(len(embedding.texts) <= 32 for embedding in upstream.embeddings)


def test_another_embedder_never_meets_old_vectors(daemon, upstream, redis):
    upstream.vectors.near(WORDING, QUESTION, 0.99)
    client = daemon.client()
    client.ask(QUESTION)
    client.ask(WORDING)
    assert client.ask(WORDING)["tier"] == "memory"
    daemon.config["embedder"]["model"] = "another-embedder"
    daemon.restart()
    client = daemon.client()
    assert client.lookup(WORDING)["tier"] == "miss"
    assert client.lookup(QUESTION)["tier"] == "exact"
    assert upstream.embeddings[-1].body["model"] == "another-embedder"


def test_one_text_that_the_embedder_refuses_costs_the_others_nothing(make_daemon, upstream):
    daemon = make_daemon(upstream=upstream).start()
    client = daemon.client()
    upstream.when_embedding("occupies", holds)
    occupying = [client.start_ask(f"occupies a transfer {i}") for i in range(4)]
    upstream.wait_embedding("occupies", 4)
    upstream.when_embedding("refused text", fails(400, "no such characters"))
    asked = [client.start_ask(question) for question in ("a refused text", "a good one", "another good one")]
    client.call("ping")  # by its answer, those before it wait for a transfer
    for held in upstream.embeddings_of("occupies"):
        held.answer()
    refused, good, other = [request.wait() for request in asked]
    assert max(len(embedding.texts) for embedding in upstream.embeddings_of("refused text")) == 3
    assert refused["reason"] == "embedder_unavailable" and refused["entry"]
    assert good["reason"] != "embedder_unavailable" and other["reason"] != "embedder_unavailable"
    assert all(request.wait()["tier"] == "upstream" for request in occupying)
    assert daemon.health()["status"] == 0
