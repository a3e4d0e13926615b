"""MessagePack-RPC clients that nobody wrote for semcached work unchanged."""
import asyncio

import pytest

from harness.waiting import DEADLINE_S

QUESTION = "Do other clients understand this?"


def test_aio_msgpack_rpc(daemon, upstream):
    rpc = pytest.importorskip("aio_msgpack_rpc")

    async def talk():
        reader, writer = await asyncio.open_unix_connection(daemon.socket_path)
        client = rpc.Client(reader, writer)
        hello = await client.call("hello", {}, timeout=DEADLINE_S)
        assert hello["server"] == "semcached"
        results = await asyncio.gather(*[client.call("get_or_generate", {"prompt": f"{QUESTION} {i % 3}"}, timeout=DEADLINE_S)
                                         for i in range(9)])
        assert {result["answer"] for result in results} == {f"The answer to <{QUESTION} {i}> is 35." for i in range(3)}
        with pytest.raises(Exception, match="INVALID field=treshold"):
            await client.call("lookup", {"prompt": QUESTION, "treshold": 1}, timeout=DEADLINE_S)
        assert await client.call("ping", {}, timeout=DEADLINE_S) == {}
        client.close()

    asyncio.run(talk())
    assert len(upstream.chats) == 3


def test_pynvim(daemon):
    """Its session sends a notification first, and method names as bin."""
    msgpack_rpc = pytest.importorskip("pynvim.msgpack_rpc")
    session = msgpack_rpc.socket_session(daemon.socket_path)
    try:
        assert session.request(b"hello", {})["server"] == "semcached"
        answer = session.request(b"get_or_generate", {"prompt": QUESTION})
        assert answer["answer"] == f"The answer to <{QUESTION}> is 33."
        with pytest.raises(Exception):  # it shows one character of the error
            session.request(b"no_such_method", {})
        assert session.request(b"ping") == {}
    finally:
        session.close()
