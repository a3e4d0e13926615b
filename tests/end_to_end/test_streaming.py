"""Streams: in order, in whole characters, live to every rider, and no slower for anybody because somebody is slow."""
import pytest

from harness.waiting import eventually
from upstream import holds

QUESTION = "Tell me a long story"


@pytest.fixture
def held(client, upstream):
    """(request, chat) of a streamed question whose model call is held."""
    upstream.when(None, holds)
    request = client.stream(QUESTION)
    return request, upstream.wait_chat()


def test_each_token_arrives_before_the_next_is_sent(held):
    request, chat = held
    text = ""
    for i in range(100):
        chat.token(f"word{i} ")
        text += f"word{i} "
        request.wait_text(text)
    chat.finish()
    result = request.wait()
    assert request.text == text and "answer" not in result
    assert result["finish_reason"] == "stop" and result["entry"]


@pytest.mark.parametrize("tier", ["memory", "exact", "semantic"])
def test_hits_are_streamed_too(daemon, upstream, tier):
    long = "".join(f"Wörter {i} 🙂 " for i in range(5000))
    upstream.when(None, lambda chat: (chat.token(long), chat.finish()))
    upstream.vectors.near("another wording of it", QUESTION, 0.95)
    daemon.client().ask(QUESTION)
    if tier == "exact":
        daemon.restart()
    request = daemon.client().stream("another wording of it" if tier == "semantic" else QUESTION)
    result = request.wait()
    assert result["tier"] == tier and "answer" not in result
    assert request.text == long
    assert len(request.chunks) >= len(long.encode()) // 16384


def test_an_answer_of_a_megabyte_comes_in_chunks_and_is_kept(client, upstream):
    long = "0123456789abcde\n" * 65536
    upstream.when(None, lambda chat: (chat.token(*[long[i:i + 40000] for i in range(0, len(long), 40000)]), chat.finish()))
    request = client.stream(QUESTION)
    request.wait()
    assert request.text == long
    assert client.ask(QUESTION)["answer"] == long
    again = client.stream(QUESTION)
    again.wait()
    assert again.text == long


def test_a_character_split_between_packets_arrives_whole(held):
    request, chat = held
    event = '{"choices":[{"index":0,"delta":{"content":"Grüße 🙂 ok"},"finish_reason":null}]}'.encode()
    smile = event.index("🙂".encode())
    chat.token("start ")
    request.wait_text("start ")
    chat.data(b"data: " + event[:smile + 2])
    chat.data(event[smile + 2:] + b"\n\n")
    request.wait_text("start Grüße 🙂 ok")
    chat.finish()
    request.wait()


@pytest.mark.parametrize("end_of_line", [b"\n", b"\r\n", b"\r"])
def test_events_in_any_dialect_are_understood(held, end_of_line):
    request, chat = held
    lines = [b": a comment", b"event: message", b"id: 1",
             b'data: {"choices":[{"index":0,', b'data: "delta":{"content":"two lines"},"finish_reason":null}]}', b"",
             b": ping", b"", b'data:{"choices":[{"index":0,"delta":{"content":" and no blank"},"finish_reason":null}]}', b""]
    body = b"\xef\xbb\xbf" + b"".join(line + end_of_line for line in lines)
    for i in range(len(body)):
        chat.data(body[i:i + 1])
    chat.token(".").finish()
    assert request.answer == "two lines and no blank."


def test_many_streams_on_one_connection_do_not_mix(client, upstream):
    upstream.when(None, holds)
    requests = [client.stream(f"story number {i}") for i in range(20)]
    chats = [upstream.wait_chat(lambda chat, i=i: chat.text == f"story number {i}") for i in range(20)]
    for word in range(10):
        for i, chat in enumerate(chats):
            chat.token(f"{i}.{word} ")
    for chat in chats:
        chat.finish()
    for i, request in enumerate(requests):
        assert request.answer == "".join(f"{i}.{word} " for word in range(10))


def test_a_slow_reader_slows_nobody(daemon, upstream):
    upstream.when(None, holds)
    slow, fast = daemon.client(receive_buffer=4096), daemon.client()
    sleepy = slow.stream(QUESTION)
    awake = fast.stream(QUESTION)
    chat = upstream.wait_chat()
    part = "x" * 50000
    for i in range(1, 41):
        chat.token(part)
        awake.wait_text(part * i)
    chat.finish()
    awake.wait()
    assert not sleepy.chunks
    sleepy.wait()
    assert sleepy.text == part * 40


def test_a_client_that_reads_nothing_is_closed(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"write_timeout_ms": "200"}).start()
    upstream.when(None, lambda chat: (chat.token("x" * 3_000_000), chat.finish()))
    stalled = daemon.client(receive_buffer=4096)
    stalled.stream(QUESTION)
    eventually(lambda: daemon.counters()["connections_stalled"] == 1, "the client to be closed")
    assert len(daemon.client().ask(QUESTION)["answer"]) == 3_000_000
    daemon.wait_log(r"disconnected conn=\d+ why=\".*read")


def test_output_that_nobody_reads_is_bounded(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"max_output_bytes": "64KiB"}).start()
    upstream.when(None, lambda chat: (chat.token("y" * 500_000), chat.finish()))
    greedy = daemon.client(receive_buffer=4096)
    greedy.stream(QUESTION).wait()
    greedy.start_all("get_or_generate", [{"prompt": QUESTION}] * 50)
    eventually(lambda: daemon.stats()["gauges"]["connections"] == 1, "the client that does not read to be closed")
    assert daemon.client().call("ping") == {}


def test_cancelled_in_the_middle(client, upstream, held):
    request, chat = held
    other = client.stream(QUESTION)
    chat.token("once ")
    for rider in (request, other):
        rider.wait_text("once ")
    request.cancel()
    request.fails("CANCELLED")
    chat.token("upon a time").finish()
    assert other.answer == "once upon a time"
    assert request.text == "once "


@pytest.mark.parametrize("how, kind", [("cut", "truncated"), ("reset", None), ("error", "http"), ("garbage", "protocol")])
def test_an_error_after_the_first_chunk_is_an_error_and_never_a_second_try(held, upstream, client, how, kind):
    request, chat = held
    chat.token("half an ans")
    request.wait_text("half an ans")
    if how == "cut":
        chat.cut()
    elif how == "reset":
        chat.reset()
    elif how == "error":
        chat.event({"error": {"message": "the model fell over", "type": "server_error", "code": None}})
        chat.close_body()
    else:
        chat.data(b"data: {this is no JSON\n\n")
        chat.close_body()
    error = request.fails("UPSTREAM")
    assert kind is None or error.keys["kind"] == kind or how == "error"
    if how == "error":
        assert "the model fell over" in error.text
    assert len(upstream.chats) == 1
    assert client.lookup(QUESTION)["tier"] == "miss"


def test_a_rider_of_a_failed_stream_gets_the_error_too(held, client):
    request, chat = held
    other = client.start_ask(QUESTION)
    chat.token("half")
    request.wait_text("half")
    chat.cut()
    assert request.fails("UPSTREAM").wire == other.fails("UPSTREAM").wire
