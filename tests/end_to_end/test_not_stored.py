"""Only complete answers are kept; everything else is passed on as it is."""
import pytest

from upstream import answers, holds

QUESTION = "Is this answer worth keeping?"


def assert_not_kept(client, redis, upstream):
    """Nothing of it is in memory, index or Redis, and it is asked again."""
    assert client.lookup(QUESTION)["tier"] == "miss"
    assert not redis.keys("semcache:entry:*") and not redis.keys("semcache:alias:*")
    asked = len(upstream.chats)
    upstream.when(None, answers("a whole answer"))
    assert client.ask(QUESTION)["answer"] == "a whole answer"
    assert len(upstream.chats) == asked + 1
    assert client.ask(QUESTION)["tier"] == "memory"


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", "something_new"])
def test_an_answer_that_did_not_come_to_its_stop(client, upstream, redis, reason):
    upstream.when(None, answers("cut off in the mid", reason=reason))
    result = client.ask(QUESTION)
    assert (result["tier"], result["answer"], result["finish_reason"]) == ("upstream", "cut off in the mid", reason)
    assert (result["entry"], result["ttl"], result["age"]) == (None, 0, 0)
    assert_not_kept(client, redis, upstream)


def test_stop_seen_but_no_done_is_a_result_and_not_stored(client, upstream, redis):
    upstream.when(None, answers("whole, it seems", done=False))
    result = client.ask(QUESTION)
    assert (result["answer"], result["finish_reason"], result["entry"]) == ("whole, it seems", "stop", None)
    assert_not_kept(client, redis, upstream)


def test_an_end_without_stop_and_done_is_truncated(client, upstream, redis):
    upstream.when(None, answers("where does it", reason=None, done=False))
    assert client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION).keys["kind"] == "truncated"
    assert_not_kept(client, redis, upstream)


def test_a_connection_cut_in_the_middle_is_truncated(client, upstream, redis):
    upstream.when(None, lambda chat: (chat.token("where does"), chat.cut()))
    assert client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION).keys["kind"] in ("truncated", "reset")
    assert_not_kept(client, redis, upstream)


def test_an_empty_answer(client, upstream, redis):
    upstream.when(None, answers())
    result = client.ask(QUESTION)
    assert (result["answer"], result["finish_reason"], result["entry"]) == ("", "stop", None)
    request = client.stream(QUESTION)
    request.wait()
    assert not request.chunks
    assert_not_kept(client, redis, upstream)


@pytest.mark.parametrize("parameters", [{"n": 2}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 3}])
def test_what_is_never_stored_is_passed_through(client, upstream, redis, parameters):
    result = client.ask(QUESTION, parameters=parameters)
    assert (result["tier"], result["entry"]) == ("upstream", None)
    assert {key: upstream.chats[0].body[key] for key in parameters} == parameters
    assert client.ask(QUESTION, parameters=parameters)["tier"] == "upstream"
    assert not redis.keys("semcache:entry:*")


def test_n_1_and_logprobs_false_are_stored(client):
    parameters = {"n": 1, "logprobs": False}
    client.ask(QUESTION, parameters=parameters)
    assert client.ask(QUESTION, parameters=parameters)["tier"] == "memory"


def test_an_error_inside_the_stream_before_any_text(client, upstream, redis):
    upstream.when(None, lambda chat: (chat.begin(), chat.event({"error": {"message": "overloaded", "type": "server_error"}}),
                                      chat.close_body()))
    error = client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert "overloaded" in error.text
    assert_not_kept(client, redis, upstream)


@pytest.mark.parametrize("body", [b"data: no json\n\n", b"data: [1,2]\n\n", b'data: {"choices": 5}\n\n', b"\0\1\2\3\n\n",
                                  b'data: {"choices":[{"delta":{"content":7}}]}\n\n', b"data: " + b"[" * 5000 + b"\n\n"])
def test_what_is_no_chat_stream(client, upstream, redis, body):
    upstream.when(None, lambda chat: (chat.data(body), chat.close_body()))
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert_not_kept(client, redis, upstream)


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello",
                                 b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
                                 b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n",
                                 b"HTTP/1.1 204 No Content\r\n\r\n",
                                 b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n"])
def test_what_is_no_event_stream(client, upstream, redis, raw):
    upstream.when(None, lambda chat: (chat.send_bytes(raw), chat.end()))
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert_not_kept(client, redis, upstream)


def test_what_is_no_http(client, upstream, redis):
    upstream.when(None, lambda chat: (chat.send_bytes(b"SSH-2.0-OpenSSH_9.2\r\n"), chat.cut()))
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert_not_kept(client, redis, upstream)


def test_an_endless_line_is_bounded(client, upstream, redis):
    def act(chat):
        chat.data(b"data: ")
        for _ in range(200):
            chat.data(b"x" * 100_000)
        chat.close_body()
    upstream.when(None, act)
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert_not_kept(client, redis, upstream)


def test_a_nul_in_the_answer_is_a_clear_error_or_passed_on_but_never_cut(client, upstream, redis):
    upstream.when(None, answers("before\0after"))
    error = client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert error.keys["kind"] == "protocol" and error.text
    assert_not_kept(client, redis, upstream)


def test_riders_of_an_incomplete_answer_all_get_it(client, upstream, redis):
    upstream.when(None, holds)
    requests = [client.start_ask(QUESTION), client.stream(QUESTION), client.start_ask(QUESTION, cache="no_store")]
    upstream.wait_chat().token("not to the").finish("length")
    assert [(request.answer, request.wait()["finish_reason"], request.wait()["entry"]) for request in requests] == \
        [("not to the", "length", None)] * 3
    assert_not_kept(client, redis, upstream)
