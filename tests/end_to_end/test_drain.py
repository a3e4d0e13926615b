"""SIGTERM: no new work, what is in flight is finished up to a deadline, the write queue is written, the exit status is 0."""
import pytest

from harness.waiting import eventually
from harness.wire import Closed, RpcError
from upstream import holds

QUESTION = "Will this be finished before the end?"


@pytest.fixture
def flying(daemon, upstream):
    """(client, request, chat): a streamed answer in the air."""
    upstream.when(None, holds)
    client = daemon.client()
    request = client.stream(QUESTION)
    chat = upstream.wait_chat()
    chat.token("begun ")
    request.wait_text("begun ")
    return client, request, chat


@pytest.mark.parametrize("how", ["SIGTERM", "drain"])
def test_what_is_in_flight_is_finished_and_new_work_is_refused(daemon, flying, redis, how):
    client, request, chat = flying
    if how == "SIGTERM":
        daemon.terminate()
    else:
        client.call("drain")
        daemon.ending = True
    daemon.wait_log("draining")
    for method, params in (("get_or_generate", {"prompt": "too late"}), ("lookup", {"prompt": "too late"}),
                           ("add", {"prompt": "too late", "answer": "x"}), ("flush", {}), ("list", {})):
        client.fails(method, "DRAINING", **params)
    assert client.call("ping") == {}
    assert client.call("health")["parts"]
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        daemon.client()
    chat.token("and finished").finish()
    assert request.answer == "begun and finished"
    assert daemon.wait_exit() == 0
    assert len(redis.keys("semcache:entry:*")) == 1
    daemon.process = None
    daemon.start()
    assert daemon.client().ask(QUESTION)["tier"] == "exact"


def test_riders_and_waiting_calls_are_all_answered(daemon, flying, upstream):
    _client, _request, chat = flying
    other = daemon.client()
    riders = other.start_all("get_or_generate", [{"prompt": QUESTION, "stream": i % 2 == 0} for i in range(100)])
    other.call("ping")
    daemon.terminate()
    daemon.wait_log("draining")
    chat.token("for all").finish()
    assert {rider.answer for rider in riders} == {"begun for all"}
    assert daemon.wait_exit() == 0


def test_after_the_deadline_it_ends_and_says_what_was_lost(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"drain_timeout_ms": "200"}).start()
    upstream.when(None, holds)
    client = daemon.client()
    request = client.stream(QUESTION)
    upstream.wait_chat().token("never finished")
    request.wait_text("never finished")
    daemon.terminate()
    assert daemon.wait_exit() == 0
    with pytest.raises((RpcError, Closed)):
        request.wait()
    assert "calls=1" in daemon.wait_log("ended_early")


def test_a_detached_call_is_finished_too(daemon, upstream, redis):
    upstream.when(None, holds)
    leaving = daemon.client()
    leaving.stream(QUESTION)
    chat = upstream.wait_chat()
    leaving.close()
    eventually(lambda: daemon.counters()["flights_detached"] == 1, "it to be detached")
    daemon.terminate()
    daemon.wait_log("draining")
    chat.token("paid for").finish()
    assert daemon.wait_exit() == 0
    assert len(redis.keys("semcache:entry:*")) == 1


def test_the_write_queue_is_written_before_the_end(daemon, redis, upstream):
    client = daemon.client()
    client.ask("before it stops")
    redis.freeze()
    requests = [client.start_ask(f"written at the very end {i}") for i in range(20)]
    client.call("ping")
    daemon.terminate()
    daemon.wait_log("draining")
    redis.thaw()
    for request in requests:
        request.wait()
    assert daemon.wait_exit() == 0
    assert len(redis.keys("semcache:entry:*")) == 21


def test_what_cannot_be_written_is_said(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"drain_timeout_ms": "500"}).start()
    client = daemon.client()
    client.ask("before it dies")
    redis.kill()
    daemon.wait_part("redis", "down")
    client.ask("never written", mode="exact")
    daemon.terminate()
    assert daemon.wait_exit() == 0
    daemon.wait_log("ended_early .*writes=[1-9]")


def test_a_client_that_never_reads_does_not_hold_up_the_end(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream,
                         server={"drain_timeout_ms": "30000", "write_timeout_ms": "300"}).start()
    upstream.when(None, lambda chat: (chat.token("x" * 3_000_000), chat.finish()))
    stalled = daemon.client(receive_buffer=4096)
    stalled.stream(QUESTION)
    upstream.wait_chat()
    daemon.terminate()
    assert daemon.wait_exit() == 0


def test_a_client_that_reads_slowly_still_gets_all_of_its_answer(daemon, upstream):
    upstream.when(None, lambda chat: (chat.token("y" * 1_000_000), chat.finish()))
    client = daemon.client(receive_buffer=4096)
    request = client.start_ask(QUESTION)
    upstream.wait_chat()
    daemon.terminate()
    daemon.wait_log("draining")
    assert len(request.wait()["answer"]) == 1_000_000
    assert daemon.wait_exit() == 0


def test_idle_connections_do_not_hold_up_the_end(daemon):
    clients = [daemon.client() for _ in range(50)]
    for client in clients:
        client.call("ping")
    daemon.terminate()
    assert daemon.wait_exit() == 0


def test_a_second_sigterm_ends_it_at_once(daemon, flying):
    _client, request, _chat = flying
    daemon.terminate()
    daemon.wait_log("draining")
    daemon.terminate()
    with pytest.raises((RpcError, Closed)):
        request.wait()
    assert daemon.wait_exit() == 0
    assert "calls=1" in daemon.wait_log("ended_early")


def test_sigterm_right_after_the_start(make_daemon, redis, upstream):
    for name in ("a", "b", "c"):
        daemon = make_daemon(name, redis, upstream).spawn()
        daemon.wait_log("ready")
        daemon.terminate()
        assert daemon.wait_exit() == 0


def test_with_a_stopped_redis_the_end_comes_within_its_deadline(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"drain_timeout_ms": "1000"}).start()
    client = daemon.client()
    client.ask("before it stops")
    redis.freeze()
    client.start_ask(QUESTION)
    client.call("ping")
    daemon.terminate()
    assert daemon.wait_exit() == 0


