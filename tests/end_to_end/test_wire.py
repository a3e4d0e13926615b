"""The wire as proto/wire.md says: ids, shapes, keys, limits, cancel, and what a wrong message costs its sender."""
import msgpack
import pytest

from harness.wire import Client, Closed

METHODS = ["hello", "ping", "get_or_generate", "lookup", "add", "invalidate", "show", "list", "explain", "feedback", "watch", "stats",
           "health", "flush", "reload", "drain", "config"]


@pytest.fixture
def quiet(make_daemon):
    """A daemon without Redis, embedder and upstream: enough to speak to."""
    return make_daemon().start()


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def last_error(client, code):
    """The one message before the connection is closed: an error without an id."""
    orphans = client.read_all()
    assert len(orphans) == 1, orphans
    kind, request_id, error, result = orphans[0]
    assert (kind, request_id, result) == (1, None, None)
    assert error.split(" ", 1)[0] == code, error


def test_hello_tells_version_limits_and_methods(quiet):
    hello = quiet.client().call("hello", client="test 1.0")
    assert hello["server"] == "semcached"
    assert hello["version"]
    assert hello["methods"] == METHODS
    assert hello["limits"]
    assert all(isinstance(value, int) for value in hello["limits"].values())


def test_ping_is_an_empty_map_with_params_or_without(quiet):
    client = quiet.client()
    for params in ([], [{}]):
        request, _data = client.request("ping")
        client.send_message([0, request.id, "ping", params])
        assert request.wait() == {}


@pytest.mark.parametrize("params", [None, {}, [1], [None], ["x"], [[]], [{}, {}], 0, "x", [{1: 2}], [{b"\xff": 2}]])
def test_params_of_another_shape_are_invalid_and_the_connection_lives(quiet, params):
    client = quiet.client()
    request, _data = client.request("ping")
    client.send_message([0, request.id, "ping", params])
    assert request.fails("INVALID").keys["field"]
    assert client.call("ping") == {}


def test_str_and_bin_are_the_same(daemon, upstream):
    client = daemon.client()
    text, _data = client.request("lookup")
    client.send_message([0, text.id, b"lookup", [{b"prompt": b"asked in bin, answered in str", b"mode": b"exact"}]])
    assert text.wait()["tier"] == "miss"
    client.add("asked in bin, answered in str", "yes")
    again, _data = client.request("lookup")
    client.send_message([0, again.id, b"lookup", [{b"prompt": b"asked in bin, answered in str"}]])
    assert again.wait()["answer"] == "yes"


def test_an_unknown_method_is_told_and_the_connection_lives(quiet):
    client = quiet.client()
    assert client.fails("get_or_genrate", "UNKNOWN_METHOD").keys["field"] == "method"
    assert client.call("ping") == {}


@pytest.mark.parametrize("method", [1, None, [], {}])
def test_a_method_that_is_no_text_is_invalid(quiet, method):
    client = quiet.client()
    request, _data = client.request("ping")
    client.send_message([0, request.id, method, []])
    assert request.fails("INVALID").keys["field"] == "method"


@pytest.mark.parametrize("method, params, field", [
    ("get_or_generate", {"prompt": "x", "treshold": 0.9}, "treshold"),
    ("lookup", {"prompt": "x", "stream": True}, "stream"),
    ("lookup", {"prompt": "x", "cache": "only"}, "cache"),
    ("add", {"prompt": "x", "answer": "y", "threshold": 0.5}, "threshold"),
    ("ping", {"prompt": "x"}, "prompt"),
    ("get_or_generate", {"prompt": "x", "temperature": 0}, "temperature"),
    ("health", {"verbose": True}, "verbose"),
])
def test_an_unknown_key_is_invalid_and_named(quiet, method, params, field):
    assert quiet.client().fails(method, "INVALID", **params).keys["field"] == field


def test_a_key_that_is_there_twice_is_invalid(quiet):
    client = quiet.client()
    request, _data = client.request("lookup")
    params = b"\x82" + (pack("prompt") + pack("one text")) * 2
    client.send_bytes(b"\x94" + pack(0) + pack(request.id) + pack("lookup") + b"\x91" + params)
    assert request.fails("INVALID").keys["field"] == "prompt"


@pytest.mark.parametrize("key, value", [
    ("threshold", 1.5), ("threshold", -1.01), ("threshold", "0.9"), ("threshold", float("nan")), ("threshold", True),
    ("max_age", -1), ("max_age", 1.5), ("max_age", "1"), ("ttl", -1), ("ttl", 2 ** 40), ("timeout_ms", -5),
    ("mode", "threshold"), ("mode", "shadow"), ("mode", 1), ("cache", "never"), ("cache", True), ("stream", 1),
    ("tags", "one"), ("tags", [1]), ("tags", ["with space"]), ("tags", [""]), ("namespace", "with space"),
    ("namespace", ""), ("namespace", "ä"), ("model", ""), ("model", 5), ("question", ""), ("context", ""),
    ("parameters", []), ("parameters", "x"), ("prompt", ""), ("prompt", 7), ("messages", [{"role": "user", "content": "y"}]),
])
def test_a_value_that_is_not_allowed_is_invalid_and_its_field_named(daemon, upstream, key, value):
    client = daemon.client()
    error = client.fails("get_or_generate", "INVALID", **{"prompt": "never asked", key: value})
    assert error.keys["field"] == key
    assert client.call("ping") == {}
    assert not upstream.chats


@pytest.mark.parametrize("key, value, limit", [
    ("tags", [f"t{i}" for i in range(17)], "16"), ("namespace", "n" * 65, "64"), ("context", "c" * 257, "256"),
    ("model", "m" * 257, "256"),
])
def test_a_value_over_a_limit_is_too_large_and_the_limit_named(quiet, key, value, limit):
    error = quiet.client().fails("get_or_generate", "TOO_LARGE", prompt="x", **{key: value})
    assert error.keys == {"field": key, "limit": limit}


def test_neither_or_both_of_prompt_and_messages_is_invalid(quiet):
    client = quiet.client()
    client.fails("lookup", "INVALID")
    client.fails("lookup", "INVALID", prompt="x", messages=[{"role": "user", "content": "x"}])


def test_nil_is_unset(daemon, upstream):
    client = daemon.client()
    upstream.vectors.near("a wording of it", "the question", 0.93)
    client.ask("the question")
    result = client.ask("a wording of it", threshold=None, max_age=None, ttl=None, tags=None, mode=None, namespace=None,
                        model=None, question=None, context=None, cache=None, stream=None, timeout_ms=None)
    assert result["tier"] == "semantic"


@pytest.mark.parametrize("request_id", [0, 1, 2 ** 32, 2 ** 53])
def test_ids_up_to_2_to_the_53rd_are_answered_under_themselves(quiet, request_id):
    client = quiet.client()
    request, data = client.request("ping", request_id=request_id)
    client.send_bytes(data)
    assert request.wait() == {}


@pytest.mark.parametrize("request_id", [-1, 1.0, 2 ** 53 + 1, "1", None, [], True, 2 ** 64 - 1])
def test_another_id_ends_the_connection_with_a_last_error(quiet, request_id):
    client = quiet.client()
    client.send_message([0, request_id, "ping", []])
    last_error(client, "INVALID")
    assert quiet.client().call("ping") == {}


def test_an_id_in_use_ends_the_connection_with_a_last_error(daemon, upstream):
    upstream.when(None, lambda chat: None)
    client = daemon.client()
    request = client.start_ask("held for long")
    upstream.wait_chat("held for long")
    client.send_message([0, request.id, "ping", []])
    last_error(client, "DUPLICATE_ID")


def test_an_id_may_be_used_again_after_its_response(quiet):
    client = quiet.client()
    for _ in range(3):
        request, data = client.request("ping", request_id=7)
        client.send_bytes(data)
        assert request.wait() == {}


@pytest.mark.parametrize("message", [
    pack(1), pack("x"), pack({}), pack(None), pack([]), pack([0]), pack([0, 1, "ping"]), pack([0, 1, "ping", [], []]),
    pack([1, 1, None, {}]), pack([3, 1, "ping", []]), pack(["0", 1, "ping", []]), pack([-1, 1, "ping", []]), b"\xc1",
])
def test_what_is_no_message_ends_the_connection_with_a_last_error(quiet, message):
    client = quiet.client()
    client.send_bytes(message)
    last_error(client, "INVALID")
    assert quiet.client().call("ping") == {}


def test_requests_before_a_malformed_message_are_answered(quiet):
    client = quiet.client()
    request, data = client.request("ping")
    client.send_bytes(data + b"\xc1")
    assert request.wait() == {}
    last_error(client, "INVALID")


@pytest.mark.parametrize("depth, allowed", [(28, True), (33, False), (1000, False), (100000, False)])
def test_depth_is_limited(quiet, depth, allowed):
    client = quiet.client()
    request, _data = client.request("lookup")
    nested = b"\x91" * (depth - 3) + b"\xc0"
    client.send_bytes(b"\x94" + pack(0) + pack(request.id) + pack("lookup") + b"\x91\x82" + pack("prompt") + pack("x") +
                      pack("parameters") + b"\x81" + pack("p") + nested)
    if allowed:
        assert request.wait()["tier"] == "miss"
    else:
        last_error(client, "TOO_LARGE")


@pytest.mark.parametrize("head", [b"\xdd\x20\x00\x00\x00", b"\xdf\x20\x00\x00\x00", b"\xdb\xff\xff\xff\xff",
                                  b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01"])
def test_a_count_that_no_message_can_hold_ends_the_connection_at_once(quiet, head):
    before = memory_kib(quiet.pid)
    client = quiet.client()
    client.send_bytes(head)
    last_error(client, "TOO_LARGE")
    assert memory_kib(quiet.pid) - before < 64 * 1024


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_a_message_over_the_limit_is_refused_before_it_is_there(make_daemon):
    daemon = make_daemon(server={"max_message_bytes": "64KiB"}).start()
    client = daemon.client()
    request, data = client.request("lookup", {"prompt": "x" * 60000})
    client.send_bytes(data)
    assert request.wait()["tier"] == "miss"
    client.send_bytes(b"\x94\x00\x02" + pack("lookup") + b"\x91\x81" + pack("prompt") + b"\xdb\x00\x02\x00\x00")
    last_error(client, "TOO_LARGE")


def test_a_message_byte_by_byte_is_a_message(quiet):
    client = quiet.client()
    request, data = client.request("lookup", {"prompt": "slowly written, Grüße 🙂", "threshold": 0.5})
    for i in range(len(data)):
        client.send_bytes(data[i:i + 1])
    assert request.wait()["tier"] == "miss"


def test_ten_thousand_requests_in_one_write_are_all_answered(quiet):
    client = quiet.client()
    requests = []
    for _ in range(10):
        requests += client.start_all("ping", [{}] * 1000)
    assert all(request.wait() == {} for request in requests)


def test_a_notification_first_as_pynvim_sends_it_is_ignored(quiet):
    client = quiet.client()
    client.send_message([2, b"nvim_set_client_info", ["x", {}, "remote", {}, {}]])
    client.send_message([2, "unknown", []])
    client.send_message([2, "cancel", "no array"])
    client.send_message([2, "cancel", [99]])
    client.send_message([2, "cancel", [-1]])
    assert client.call("ping") == {}
    assert not client.orphans and not client.notifications


def test_a_cancel_right_behind_its_request_gives_exactly_one_response(daemon, upstream):
    upstream.when(None, lambda chat: None)
    client = daemon.client()
    request, data = client.request("get_or_generate", {"prompt": "cancelled at once"})
    client.send_bytes(data + pack([2, "cancel", [request.id]]) * 3)
    request.fails("CANCELLED")
    assert client.call("ping") == {}
    assert not client.orphans


def test_a_cancel_after_the_response_is_nothing(daemon):
    client = daemon.client()
    request = client.start_ask("answered before")
    request.wait()
    request.cancel()
    assert client.call("ping") == {}
    assert not client.orphans


def test_too_much_in_flight_on_one_connection_is_busy_with_retry_ms(make_daemon, redis, upstream):
    upstream.when(None, lambda chat: None)
    daemon = make_daemon(redis=redis, upstream=upstream, server={"max_in_flight_per_connection": "3"}).start()
    client = daemon.client()
    held = [client.start_ask(f"held question {i}") for i in range(3)]
    upstream.wait_chat("held question", 3)
    error = client.fails("get_or_generate", "BUSY", prompt="one more")
    assert error.keys["limit"] == "3" and int(error.keys["retry_ms"]) > 0
    assert daemon.client().call("ping") == {}
    upstream.wait_chat("held question 0").token("done").finish()
    assert held[0].wait()["answer"] == "done"
    assert client.call("ping") == {}


def test_too_much_in_flight_of_all_is_busy(make_daemon, redis, upstream):
    upstream.when(None, lambda chat: None)
    daemon = make_daemon(redis=redis, upstream=upstream, server={"max_in_flight": "2"}).start()
    for i in range(2):
        daemon.client().start_ask(f"held question {i}")
    upstream.wait_chat("held question", 2)
    assert daemon.client().fails("get_or_generate", "BUSY", prompt="one more").keys["limit"] == "2"


def test_a_connection_over_the_limit_waits_and_is_not_refused(make_daemon):
    daemon = make_daemon(server={"max_connections": "2"}).start()
    first, second = Client(daemon.socket_path), Client(daemon.socket_path)
    first.call("ping")
    second.call("ping")
    third = Client(daemon.socket_path)
    waiting = third.start("ping")
    assert second.call("ping") == {}
    third.read_available()
    assert not waiting.done
    first.close()
    assert waiting.wait() == {}
    second.close()
    third.close()


def test_a_client_that_leaves_in_the_middle_of_a_message_disturbs_nobody(quiet):
    other = quiet.client()
    leaving = quiet.client()
    _request, data = leaving.request("lookup", {"prompt": "half a message"})
    leaving.send_bytes(data[:-4])
    leaving.close()
    assert other.call("ping") == {}


def test_a_client_that_stops_sending_still_gets_its_responses_or_a_clean_end(quiet):
    client = quiet.client()
    request = client.start("ping")
    client.half_close()
    try:
        assert request.wait() == {}
    except Closed:
        pass
    assert quiet.client().call("ping") == {}
