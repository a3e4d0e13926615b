"""The parts of the harness themselves: what they claim to see must be true before they may judge the daemon."""
import base64
import http.client
import json
import os
import socket
import struct

import msgpack
import pytest

from harness import process
from harness.daemon import SANITIZER
from harness.redis_server import RedisError
from harness.wire import Client, Closed, RpcError
from upstream import Vectors, answers, cosine, fails, holds


def post(upstream, path, body):
    """An open HTTP connection on which `body` was sent."""
    link = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=20)
    link.request("POST", path, json.dumps(body), {"authorization": "Bearer k", "content-type": "application/json"})
    return link


def chat(text):
    return {"model": "m", "stream": True, "stream_options": {"include_usage": True},
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}]}


def events(data):
    return [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]


def test_a_chat_without_a_rule_is_answered_to_the_end(upstream):
    data = post(upstream, "/v1/chat/completions", chat("hello")).getresponse().read()
    *chunks, done = events(data)
    assert done == "[DONE]"
    parsed = [json.loads(chunk) for chunk in chunks]
    assert "".join(p["choices"][0]["delta"].get("content") or "" for p in parsed if p["choices"]) == \
        "The answer to <hello> is 5."
    assert parsed[-1]["usage"]["total_tokens"] == 18
    assert upstream.chats[0].text == "hello"
    assert upstream.chats[0].headers["authorization"] == "Bearer k"


def test_a_held_chat_sends_each_token_when_told(upstream):
    upstream.when("slow", holds)
    link = post(upstream, "/v1/chat/completions", chat("a slow one"))
    held = upstream.wait_chat("slow")
    held.token("one")
    response = link.getresponse()
    for expected in ("null", '"one"'):
        assert expected in response.readline().decode()
        response.readline()
    held.token("two")
    assert '"two"' in response.readline().decode()
    assert held.is_open
    held.finish("length", done=False)
    rest = response.read().decode()
    assert '"length"' in rest and "[DONE]" not in rest
    upstream.wait(lambda: not held.is_open, "the end")
    assert not held.closed_by_client


def test_a_client_that_leaves_is_seen(upstream):
    upstream.when(None, holds)
    link = post(upstream, "/v1/chat/completions", chat("x"))
    held = upstream.wait_chat()
    link.close()
    held.wait_closed_by_client()
    assert not upstream.open_exchanges()


def test_errors_cuts_and_resets_are_what_they_say(upstream):
    upstream.when("limit", fails(429, "slow down", headers=["retry-after: 1"]))
    upstream.when("cut", lambda exchange: (exchange.token("half"), exchange.cut()))
    upstream.when("reset", lambda exchange: exchange.reset())
    upstream.when("filter", answers("no", reason="content_filter"))
    response = post(upstream, "/v1/chat/completions", chat("limit")).getresponse()
    assert response.status == 429 and json.loads(response.read())["error"]["message"] == "slow down"
    with pytest.raises(http.client.IncompleteRead):
        post(upstream, "/v1/chat/completions", chat("cut")).getresponse().read()
    with pytest.raises(ConnectionResetError):
        post(upstream, "/v1/chat/completions", chat("reset")).getresponse().read()
    assert b"content_filter" in post(upstream, "/v1/chat/completions", chat("filter")).getresponse().read()


def test_a_refusing_upstream_listens_again_on_the_same_port(upstream):
    link = post(upstream, "/v1/chat/completions", chat("x"))
    link.getresponse().read()
    upstream.refuse()
    with pytest.raises(ConnectionRefusedError):
        post(upstream, "/v1/chat/completions", chat("x"))
    assert not os.path.exists(upstream.socket_path)
    upstream.listen()
    assert post(upstream, "/v1/chat/completions", chat("x")).getresponse().status == 200


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_embeddings_come_in_the_form_that_was_asked_for(upstream, encoding):
    body = {"model": "e", "input": ["a", "b"], "encoding_format": encoding}
    result = json.loads(post(upstream, "/v1/embeddings", body).getresponse().read())
    first = result["data"][0]["embedding"]
    if encoding == "base64":
        raw = base64.b64decode(first)
        first = struct.unpack(f"<{len(raw) // 4}f", raw)
    assert cosine(first, upstream.vectors.of("a")) == pytest.approx(1.0, abs=1e-6)
    assert upstream.embedded_texts == ["a", "b"]


def test_vectors_are_as_near_as_they_were_made(upstream):
    vectors = Vectors()
    for similarity in (0.95, 0.72, 0.0, -0.5, 1.0):
        vectors.near("wording", "question", similarity)
        assert cosine(vectors.of("wording"), vectors.of("question")) == pytest.approx(similarity, abs=1e-9)
    assert abs(cosine(vectors.of("one"), vectors.of("two"))) < 0.3
    assert Vectors().of("one") == Vectors().of("one")


@pytest.fixture
def peer(place):
    """A client and the other end of its connection."""
    path = os.path.join(place, "peer.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        with Client(path) as client:
            other = listener.accept()[0]
            with other:
                yield client, other


def test_the_client_matches_responses_in_any_order(peer):
    client, other = peer
    first, second = client.start("ping"), client.start("hello")
    other.sendall(msgpack.packb([1, second.id, None, {"n": 2}]) + msgpack.packb([1, first.id, "BUSY retry_ms=5 : later", None]))
    assert second.wait() == {"n": 2}
    with pytest.raises(RpcError) as error:
        first.wait()
    assert (error.value.code, error.value.keys, error.value.text) == ("BUSY", {"retry_ms": "5"}, "later")


@pytest.mark.parametrize("messages", [
    [[2, "chunk", [1, 1, "late start"]]],
    [[2, "chunk", [7, 0, "nobody's"]]],
    [[2, "chunk", [1, 0, ""]]],
    [[1, 1, None, {}], [1, 1, None, {}], [2, "chunk", [1, 0, "after the end"]]],
    [[1, 1, ["CODE", "array"], None]],
    [[3, 1, None, {}]],
])
def test_the_client_refuses_what_the_wire_forbids(peer, messages):
    client, other = peer
    client.start("ping")
    other.sendall(b"".join(msgpack.packb(message) for message in messages))
    with pytest.raises(AssertionError):
        client.read_until(lambda: False, "a fault")


def test_the_client_sees_the_end(peer):
    client, other = peer
    request = client.start("ping")
    other.close()
    with pytest.raises(Closed):
        request.wait()


def test_redis_is_real(redis):
    redis.pipeline([("SET", "k", "v"), ("HSET", "h", "f", b"\0\xff")])
    assert redis.command("GET", "k") == b"v"
    assert redis.hash("h") == {"f": b"\0\xff"}
    assert redis.contains(b"\0\xff") and not redis.contains(b"absent")
    with pytest.raises(RedisError):
        redis.command("GET", "h")
    monitor = redis.monitor()
    redis.command("DEL", "k")
    assert monitor.stop() == ["DEL"]


def test_a_frozen_redis_answers_when_it_goes_on(redis):
    redis.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(redis.path)
        link.sendall(b"PING\r\n")
        assert set(process.state(redis.process.pid)) == {"T"}
        redis.thaw()
        assert link.recv(64) == b"+PONG\r\n"


def test_a_sanitizers_report_is_recognised():
    assert SANITIZER.search("==1==ERROR: AddressSanitizer: heap-use-after-free")
    assert SANITIZER.search("daemon/x.c:3:1: runtime error: signed integer overflow")
    assert not SANITIZER.search("info start version=0.1.0")
