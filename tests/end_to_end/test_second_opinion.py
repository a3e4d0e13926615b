"""A second embedder has a say in would-be hits, and only in them; without its opinion the plain rule decides."""
import json
import os
import subprocess

import pytest
from harness.daemon import program
from harness.waiting import DEADLINE_S, eventually
from upstream import Upstream, holds

FIRST, NEXT, ASKED = "Why is the sky blue?", "Why is the sea blue?", "What makes the sky look blue?"

WANTED = {"mode": "calibrated", "second_opinion": "on", "score_threshold": "0.90", "margin": "0.5", "margin_floor": "0.60",
          "minimum": "0.70"}


@pytest.fixture
def second(place, ending):
    """The scripted second embedder."""
    service = Upstream(os.path.join(place, "second.sock")).start()

    def end():
        service.forget_rules()
        for exchange in service.open_exchanges():
            exchange.cut()
        service.stop()

    ending.append((1, end))
    return service


@pytest.fixture
def make_asked(make_daemon, redis, upstream, second):
    """A function that makes a daemon with a second embedder: make_asked(name, timeout_ms=, redis=, **namespace)."""
    def make(name="a", timeout_ms="20000", redis=redis, **space):
        return make_daemon(name, redis, upstream, namespace__default={**WANTED, **space}, second_opinion={
            "url": "http://second.test/v1", "unix_socket": second.socket_path, "model": "test-second", "timeout_ms": timeout_ms})

    return make


def relate(upstream, second, similarity, opinion):
    """The two cosines of FIRST and ASKED; NEXT is farther away for both embedders."""
    upstream.vectors.near(FIRST, ASKED, similarity)
    upstream.vectors.near(NEXT, ASKED, 0.62)
    second.vectors.near(FIRST, ASKED, opinion)
    second.vectors.near(NEXT, ASKED, 0.30)


def fill(client):
    """Stores both, each with its second vector where there is one to be had."""
    for question in (FIRST, NEXT):
        client.call("add", prompt=question, answer=question)


@pytest.mark.parametrize("similarity, opinion, tier, mean", [
    (0.85, 0.90, "semantic", 0.875),  # 0.875 + 0.5 * (0.875 - 0.60) = 1.01; the plain rule would not serve .85
    (0.95, 0.30, "upstream", 0.625),  # 0.625 + 0.5 * (0.625 - 0.60) = 0.64; the plain rule would serve .95
    (0.85, 0.70, "upstream", 0.775),  # 0.775 + 0.5 * (0.775 - 0.60) = 0.86
])
def test_both_embedders_decide(make_asked, upstream, second, similarity, opinion, tier, mean):
    client = make_asked().start().client()
    relate(upstream, second, similarity, opinion)
    fill(client)
    explained = client.call("explain", prompt=ASKED)
    assert explained["candidates"][0]["similarity"] == pytest.approx(similarity, abs=1e-4)
    assert explained["candidates"][0]["opinion"] == pytest.approx(opinion, abs=1e-4)
    assert explained["score"] == pytest.approx(mean + 0.5 * (mean - 0.60), abs=1e-3)
    answer = client.ask(ASKED)
    assert answer["tier"] == tier
    if tier == "semantic":
        assert answer["similarity"] == pytest.approx(similarity, abs=1e-4)


def test_it_is_asked_only_for_would_be_hits(make_asked, upstream, second):
    daemon = make_asked().start()
    client = daemon.client()
    relate(upstream, second, 0.85, 0.90)
    fill(client)
    assert second.embedded_texts == [FIRST, NEXT]
    # One that is near nothing, one that no embedder is needed for, one that is not compared.
    assert client.call("lookup", prompt="How old is the universe?")["tier"] == "miss"
    assert client.ask(FIRST)["tier"] == "memory"
    assert client.call("lookup", prompt=ASKED, mode="exact")["tier"] == "miss"
    assert client.call("lookup", prompt=ASKED, threshold=0.99)["tier"] == "miss"
    assert second.embedded_texts == [FIRST, NEXT]
    assert client.call("lookup", prompt=ASKED)["tier"] == "semantic"
    assert second.embedded_texts == [FIRST, NEXT, ASKED]
    counters = daemon.counters()
    assert (counters["opinions_given"], counters["opinions_missed"]) == (1, 0)
    assert (counters["second_calls"], counters["second_texts"]) == (3, 3)


def test_one_that_a_guard_vetoes_is_no_would_be_hit(make_asked, upstream, second):
    client = make_asked(guards="numbers:on").start().client()
    other = "Take 5 mg a day?"
    upstream.vectors.near("Take 50 mg a day?", other, 0.97)
    client.call("add", prompt="Take 50 mg a day?", answer="yes")
    client.call("add", prompt=NEXT, answer="no")
    assert client.call("lookup", prompt=other)["reason"] == "guard_numbers"
    assert other not in second.embedded_texts


def test_a_lone_entry_is_decided_by_the_plain_rule(make_asked, upstream, second):
    client = make_asked().start().client()
    upstream.vectors.near(FIRST, ASKED, 0.91)
    client.call("add", prompt=FIRST, answer="so")
    assert client.ask(ASKED)["tier"] == "semantic"
    assert second.embedded_texts == [FIRST]


def test_an_opinion_that_comes_too_late_is_not_waited_for(make_asked, upstream, second):
    daemon = make_asked(timeout_ms="100").start()
    client = daemon.client()
    relate(upstream, second, 0.85, 0.90)
    fill(client)
    eventually(lambda: daemon.stats()["latencies"]["second"]["count"] == 2, "both second vectors")
    second.when_embedding(ASKED, holds)
    assert client.call("lookup", prompt=ASKED)["reason"] == "below_threshold"
    assert client.call("lookup", prompt=ASKED, threshold=0.84)["tier"] == "semantic"
    assert daemon.counters()["opinions_missed"] == 1


@pytest.mark.parametrize("similarity, tier", [(0.89, "upstream"), (0.92, "semantic")])
def test_while_it_is_away_the_plain_rule_decides_and_health_says_so(make_asked, upstream, second, similarity, tier):
    daemon = make_asked().start()
    client = daemon.client()
    relate(upstream, second, similarity, 0.99)
    fill(client)
    assert daemon.part("second_opinion")["state"] == "up"
    second.refuse()
    for number in range(3):
        client.call("add", prompt=f"a question of its own, {number}", answer="so")
    daemon.wait_part("second_opinion", "down")
    assert daemon.health()["state"] == "degraded"
    assert client.ask(ASKED)["tier"] == tier
    second.listen()
    daemon.wait_part("second_opinion", "up")
    assert client.call("lookup", prompt=ASKED)["tier"] in ("semantic", "memory")


def test_one_that_hangs_is_found_out(make_asked, upstream, second):
    daemon = make_asked(timeout_ms="20").start()
    client = daemon.client()
    relate(upstream, second, 0.92, 0.99)
    second.when_embedding(None, holds)
    fill(client)
    assert client.ask(ASKED)["tier"] == "semantic"
    for number in range(3):
        client.call("add", prompt=f"a question of its own, {number}", answer="so")
    daemon.wait_part("second_opinion", "down")
    assert client.ask(FIRST)["tier"] == "memory"


def test_entries_of_before_are_decided_about_by_the_plain_rule(make_asked, upstream, second):
    daemon = make_asked(second_opinion="off").start()
    client = daemon.client()
    relate(upstream, second, 0.85, 0.90)
    fill(client)
    assert second.embedded_texts == []
    daemon.configure("namespace default", second_opinion="on")
    daemon.write_config()
    assert client.call("reload")["changed"] == ["[namespace default] second_opinion"]
    assert client.call("lookup", prompt=ASKED)["reason"] == "below_threshold"
    candidate = client.call("explain", prompt=ASKED)["candidates"][0]
    assert candidate.get("opinion") is None
    fill(client)
    assert client.call("lookup", prompt=ASKED)["tier"] == "semantic"


def test_another_daemon_and_a_restarted_one_read_both_vectors(make_asked, upstream, second):
    daemon, other = make_asked().start(), make_asked("b").start()
    relate(upstream, second, 0.85, 0.90)
    fill(daemon.client())
    eventually(lambda: other.client().call("lookup", prompt=ASKED)["tier"] == "semantic", "the other to know both vectors")
    other.restart()
    assert other.client().call("lookup", prompt=ASKED)["tier"] == "semantic"
    assert sorted({*second.embedded_texts}) == sorted([FIRST, NEXT, ASKED])


def test_in_memory_only_it_is_the_same(make_asked, upstream, second):
    client = make_asked(redis=None).start().client()
    relate(upstream, second, 0.85, 0.90)
    fill(client)
    assert client.ask(ASKED)["tier"] == "semantic"


def test_the_models_answers_are_stored_with_its_vector(make_asked, upstream, second):
    daemon = make_asked().start()
    client = daemon.client()
    relate(upstream, second, 0.85, 0.90)
    for count, question in enumerate((FIRST, NEXT), 1):
        upstream.when(question, holds)
        asked = client.start("get_or_generate", prompt=question)
        chat = upstream.wait_chat(question)
        eventually(lambda: daemon.stats()["latencies"]["second"]["count"] == count, "the second vector")
        chat.token("so")
        chat.finish()
        assert asked.wait()["tier"] == "upstream"
    assert client.ask(ASKED)["tier"] == "semantic"


def test_a_model_that_is_faster_is_not_held_up(make_asked, upstream, second):
    daemon = make_asked().start()
    client = daemon.client()
    second.when_embedding(None, holds)
    for question in (FIRST, NEXT):
        assert client.ask(question)["tier"] == "upstream"
    assert client.ask(FIRST)["tier"] == "memory"
    assert daemon.counters()["entries_stored"] == 2


@pytest.mark.parametrize("opinion, joins", [(0.95, True), (0.20, False)])
def test_it_has_a_say_in_the_air(make_asked, upstream, second, opinion, joins):
    daemon = make_asked().start()
    client = daemon.client()
    relate(upstream, second, 0.92, opinion)
    client.call("add", prompt=NEXT, answer="another")
    upstream.when(FIRST, holds)
    first = client.start("get_or_generate", prompt=FIRST)
    chat = upstream.wait_chat(FIRST)
    eventually(lambda: daemon.stats()["latencies"]["second"]["count"] == 2, "the second vector")
    asked = client.start("get_or_generate", prompt=ASKED)
    if joins:
        eventually(lambda: daemon.counters()["flights_joined_by_meaning"] == 1, "the other wording to join")
    else:
        assert asked.wait()["tier"] == "upstream"
    chat.token("so")
    chat.finish()
    assert first.wait()["tier"] == "upstream"
    if joins:
        assert asked.wait()["tier"] == "coalesced"
    assert len(upstream.chats) == (1 if joins else 2)


def test_a_text_that_is_too_long_for_it_is_decided_about_without(make_asked, upstream, second):
    daemon = make_asked()
    daemon.configure("second_opinion", max_bytes="25")
    client = daemon.start().client()
    relate(upstream, second, 0.92, 0.10)
    fill(client)
    assert client.ask(ASKED)["tier"] == "semantic"
    assert second.embedded_texts == [FIRST, NEXT]


def test_a_caller_who_leaves_takes_nothing_down(make_asked, upstream, second):
    daemon = make_asked().start()
    relate(upstream, second, 0.85, 0.90)
    fill(daemon.client())
    second.when_embedding(ASKED, holds)
    leaving = daemon.client()
    leaving.start("get_or_generate", prompt=ASKED)
    embedding = second.wait_embedding(ASKED)
    leaving.close()
    embedding.wait_closed_by_client()
    second.forget_rules()
    assert daemon.client().ask(ASKED)["tier"] == "semantic"


def test_values_that_do_not_fit_are_named(make_asked):
    daemon = make_asked(opinion_weight="1.5")
    daemon.configure("second_opinion", model=None)
    daemon.spawn()
    assert daemon.wait_exit() == 78
    assert "opinion_weight" in daemon.log and "[second_opinion] model" in daemon.log
    daemon.process = None


def evaluate(daemon, lines, *options, command="evaluate"):
    """What `evaluate` prints of a stream, with the daemon's configuration: (status, standard output, standard error)."""
    daemon.write_config()
    file = ["-"] if command == "evaluate" else ["--pairs", "-"]
    done = subprocess.run([program("semcached"), command, "--config", daemon.config_path, *options, *file], capture_output=True,
                          input="id\tclass_id\tprompt\n" + "".join(lines), text=True, timeout=DEADLINE_S * 2, check=False)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_evaluate_asks_both(make_asked, upstream, second):
    relate(upstream, second, 0.85, 0.90)
    trap = "Why is the sky grey?"
    upstream.vectors.near(trap, FIRST, 0.95)
    second.vectors.near(trap, FIRST, 0.10)
    stream = [f"1\t1\t{FIRST}\n", f"2\t2\t{NEXT}\n", f"3\t1\t{ASKED}\n", f"4\t3\t{trap}\n"]
    status, output, _ = evaluate(make_asked(guards="all:off"), stream, "--json")
    shipped = json.loads(output)["shipped"]
    assert (status, shipped["right"], shipped["wrong"]) == (0, 1, 0)
    asked = len(second.embedded_texts)
    _, output, _ = evaluate(make_asked("b", guards="all:off"), stream, "--json", "--second-opinion", "off")
    shipped = json.loads(output)["shipped"]
    assert (shipped["right"], shipped["wrong"]) == (1, 1)
    assert (asked, len(second.embedded_texts)) == (4, 4)
    _, output, _ = evaluate(make_asked("c"), stream, "--opinion-weight", "0.25")
    assert "second opinion test-second, weight 0.25" in output


def test_evaluate_says_that_there_is_no_second_embedder(make_daemon, upstream):
    status, _, error = evaluate(make_daemon("a", None, upstream), ["1\t1\tWhy?\n"], "--second-opinion", "on")
    assert status == 78 and "[second_opinion] url is empty" in error
    assert evaluate(make_daemon("b", None, upstream), [], "--second-opinion", "perhaps")[0] == 64


def test_a_stream_is_calibrated_with_it_and_the_certificate_holds_only_so(make_asked, upstream, second):
    stream = []
    for number in range(40):
        question, wording = f"question {number} of many", f"wording {number} of many"
        upstream.vectors.near(wording, question, 0.85)
        second.vectors.near(wording, question, 0.95)
        stream += [f"{number}\t{number}\t{question}\n", f"{100 + number}\t{number}\t{wording}\n"]
    promise = ("--json", "--max-false-hits-of-hits", "20%", "--dry-run")
    status, output, error = evaluate(make_asked(guards="all:off"), stream, *promise, command="calibrate")
    assert status == 0, error
    certificate = json.loads(output)["certificate"]
    assert certificate["weight"] == 0.5 and len(certificate["second_embedder"]) == 16
    assert certificate["second_embedder"] != certificate["embedder"]
    _, output, _ = evaluate(make_asked("b", guards="all:off", second_opinion="off"), stream, *promise, command="calibrate")
    certificate = json.loads(output)["certificate"]
    assert (certificate["weight"], certificate["second_embedder"]) == (0, None)
