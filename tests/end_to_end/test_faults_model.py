"""The model fails: every rider gets the upstream's status and message, nothing is asked twice, and others go on."""
import pytest

from harness.waiting import eventually
from upstream import answers, fails, holds

QUESTION = "Will the model answer this?"


def riders(client, count=5):
    """Riders of one flight, with and without a stream."""
    return client.start_all("get_or_generate", [{"prompt": QUESTION, "stream": i % 2 == 0} for i in range(count)])


@pytest.mark.parametrize("status, message", [
    (429, "Rate limit reached for test-model"), (500, "The server had an error"), (401, "Incorrect API key provided"),
    (400, "This model's maximum context length is 4096 tokens"), (404, "The model does not exist"), (503, "Overloaded"),
])
def test_every_rider_gets_status_and_message(client, upstream, status, message):
    upstream.when(None, holds)
    requests = riders(client)
    upstream.wait_chat().fail(status, message)
    for request in requests:
        error = request.fails("UPSTREAM")
        assert error.keys["status"] == str(status) and error.keys["kind"] == "http"
        assert message in error.text
    assert len(upstream.chats) == 1
    upstream.forget_rules()
    upstream.when(None, answers("better now"))
    assert client.ask("another question")["answer"] == "better now"


@pytest.mark.parametrize("body, content_type", [
    (b"<html>Bad Gateway</html>", "text/html"), (b"", "application/json"), (b'{"error": "just a text"}', "application/json"),
    (b"x" * 200_000, "text/plain"), (b'{"error": {"message": "line one\\nline\\u0007 two\\u001b[31m"}}', "application/json"),
    (b"\xff\xfe\0", "text/plain"),
])
def test_an_error_of_any_form_is_one_clean_line(daemon, client, upstream, body, content_type):
    upstream.when(None, lambda chat: chat.reply(502, body, content_type))
    error = client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert error.keys["status"] == "502"
    assert len(error.wire) < 1000
    assert all(character.isprintable() for character in error.wire), error.wire
    assert all(character.isprintable() or character == "\n" for character in daemon.log)


def test_our_key_in_the_upstreams_message_is_not_passed_on(daemon, client, upstream, secret):
    upstream.when(None, fails(401, f"Incorrect API key provided: {secret}"))
    error = client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert secret not in error.wire
    assert secret not in str(daemon.health())


def test_a_refusing_model_is_told_at_once_and_found_again(daemon, client, upstream):
    upstream.refuse()
    for request in riders(client):
        assert request.fails().code in ("UPSTREAM", "UNAVAILABLE")
    for _ in range(3):
        client.fails("get_or_generate", prompt=QUESTION)
    part = daemon.wait_part("upstream main", "down")
    assert part["error"] and part["since"] >= 0
    error = client.fails("get_or_generate", prompt=QUESTION)
    assert error.code in ("UPSTREAM", "UNAVAILABLE") and error.text
    upstream.listen()
    daemon.wait_part("upstream main", "up")
    assert client.ask(QUESTION)["tier"] == "upstream"


def test_refused_is_its_own_kind(client, upstream):
    upstream.refuse()
    assert client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION).keys["kind"] == "refused"


def test_a_reset_over_tcp_is_its_own_kind(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__main={
        "url": f"http://127.0.0.1:{upstream.port}/v1", "unix_socket": None}).start()
    client = daemon.client()
    upstream.when(None, holds)
    requests = riders(client)
    chat = upstream.wait_chat()
    chat.token("some text")
    requests[0].wait_text("some text")
    chat.reset()
    for request in requests:
        assert request.fails("UPSTREAM").keys["kind"] == "reset"
    request = client.start_ask("reset before anything was said")
    upstream.wait_chat("reset before").reset()
    assert request.fails("UPSTREAM").keys["kind"] == "reset"


def test_a_model_that_says_nothing_for_idle_timeout_is_stalled(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__main={"idle_timeout_ms": "200"}).start()
    client = daemon.client()
    upstream.when(None, holds)
    requests = riders(client)
    chat = upstream.wait_chat()
    for request in requests:
        assert request.fails("UPSTREAM").keys["kind"] == "stalled"
    chat.wait_closed_by_client()
    request = client.stream("stalled in the middle of its answer")
    chat = upstream.wait_chat("in the middle")
    chat.token("half")
    request.wait_text("half")
    assert request.fails("UPSTREAM").keys["kind"] == "stalled"
    chat.wait_closed_by_client()


def test_a_call_over_its_whole_time_limit_ends(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__main={"timeout_ms": "300"}).start()
    client = daemon.client()
    upstream.when(None, holds)
    request = client.stream(QUESTION)
    chat = upstream.wait_chat()
    chat.token("a word")
    assert request.fails("UPSTREAM").keys["kind"] == "stalled"
    chat.wait_closed_by_client()


def test_only_the_first_3_calls_reach_a_model_that_is_stalled(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__main={"idle_timeout_ms": "150"}).start()
    client = daemon.client()
    upstream.when(None, holds)
    upstream.when_other("/v1/models", holds)
    for i in range(3):
        assert client.fails("get_or_generate", "UPSTREAM", prompt=f"stalled question {i}").keys["kind"] == "stalled"
    daemon.wait_part("upstream main", "down")
    for i in range(20):
        client.fails("get_or_generate", prompt=f"not even asked {i}")
    assert len(upstream.chats) == 3
    upstream.forget_rules()
    for exchange in upstream.open_exchanges():
        exchange.cut()
    daemon.wait_part("upstream main", "up")
    assert client.ask("asked again")["tier"] == "upstream"


def test_an_http_error_of_one_question_does_not_take_the_model_away_from_others(daemon, client, upstream):
    upstream.when("too long", fails(400, "This model's maximum context length is 4096 tokens"))
    for i in range(6):
        client.fails("get_or_generate", "UPSTREAM", prompt=f"a question that is too long {i}")
    assert daemon.part("upstream main")["state"] == "up"
    assert client.ask(QUESTION)["tier"] == "upstream"


def test_hits_are_served_while_the_model_is_away(client, upstream):
    upstream.vectors.near("another wording", QUESTION, 0.95)
    client.ask(QUESTION)
    upstream.when(None, fails(503))
    assert client.ask(QUESTION)["tier"] == "memory"
    assert client.ask("another wording")["tier"] == "semantic"


def test_more_calls_than_max_transfers_wait_in_line_and_over_the_queue_are_refused(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__main={"max_transfers": "2", "queue": "3"}).start()
    client = daemon.client()
    upstream.when(None, holds)
    requests = [client.start_ask(f"question in line {i}", mode="exact") for i in range(6)]
    error = requests[5].fails("BUSY")
    assert error.text
    upstream.wait_chat(count=2)
    assert len(upstream.chats) == 2
    for i in range(5):
        upstream.wait_chat(count=i + 1).token("done").finish()
    assert [request.wait()["answer"] for request in requests[:5]] == ["done"] * 5
    assert daemon.counters()["upstream_queue_full"] == 1


def test_one_that_waits_in_line_can_leave_it(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__main={"max_transfers": "1"}).start()
    client = daemon.client()
    upstream.when(None, holds)
    first = client.start_ask("the first in line", mode="exact", cache="no_store")
    chat = upstream.wait_chat()
    second = client.start_ask("the second in line", mode="exact", cache="no_store")
    third = client.start_ask("the third in line", mode="exact")
    client.call("ping")
    second.cancel()
    second.fails("CANCELLED")
    chat.token("one").finish()
    upstream.wait_chat("third").token("three").finish()
    assert (first.answer, third.answer) == ("one", "three")
    assert not upstream.chats_of("the second")


def test_a_client_that_dies_midway_disturbs_no_other_rider(daemon, client, upstream):
    upstream.when(None, holds)
    dying = daemon.client()
    dying.start_all("get_or_generate", [{"prompt": QUESTION, "stream": True}] * 10)
    stays = client.stream(QUESTION)
    chat = upstream.wait_chat()
    chat.token("still ")
    stays.wait_text("still ")
    dying.close()
    eventually(lambda: daemon.stats()["gauges"]["connections"] == 2, "the death to be seen")
    chat.token("here").finish()
    assert stays.answer == "still here"
