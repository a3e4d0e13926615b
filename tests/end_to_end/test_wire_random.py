"""The wire against whatever comes: random values, random bytes, random cuts. One daemon takes them all."""
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.wire import Client, Closed, RpcError

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

scalars = st.one_of(st.none(), st.booleans(), st.integers(-2 ** 63, 2 ** 64 - 1), st.floats(), st.text(max_size=20),
                    st.binary(max_size=20), st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8)))
values = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(
    st.one_of(st.text(max_size=12), st.integers(-5, 5)), inner, max_size=5)), max_leaves=20)
keys = st.sampled_from(["prompt", "messages", "model", "parameters", "namespace", "question", "context", "cache", "max_age",
                        "threshold", "mode", "ttl", "tags", "stream", "timeout_ms", "answer", "entry", "tag", "dry_run",
                        "limit", "after", "client", "nothing"])
methods = st.sampled_from(["hello", "ping", "lookup", "get_or_generate", "add", "invalidate", "show", "list", "stats",
                           "health", "config", "cancel", "chunk", "x"])


@pytest.fixture
def quiet(make_daemon):
    daemon = make_daemon().start()
    daemon.may_log_texts = True
    return daemon


def survives(daemon):
    with Client(daemon.socket_path) as client:
        assert client.call("ping") == {}


@SETTINGS
@given(message=values)
def test_any_value_as_a_message(quiet, message):
    with Client(quiet.socket_path) as client:
        client.send_bytes(msgpack.packb(message, unicode_errors="surrogatepass"))
        client.half_close()
        client.read_all()
    survives(quiet)


@SETTINGS
@given(data=st.binary(min_size=1, max_size=300))
def test_any_bytes(quiet, data):
    with Client(quiet.socket_path) as client:
        client.send_bytes(data)
        client.half_close()
        client.read_all()
    survives(quiet)


@SETTINGS
@given(method=methods, params=st.dictionaries(keys, values, max_size=5))
def test_any_params_get_exactly_one_response(quiet, method, params):
    with Client(quiet.socket_path) as client:
        request, _data = client.request(method)
        client.send_bytes(msgpack.packb([0, request.id, method, [params]], unicode_errors="surrogatepass"))
        try:
            request.wait()
        except (RpcError, Closed):
            pass
        if not client.closed:
            assert client.call("ping") == {}
        assert len(client.orphans) <= 1
    survives(quiet)


@SETTINGS
@given(count=st.integers(1, 20), cuts=st.lists(st.integers(1, 200), max_size=30))
def test_any_cut_of_the_stream_gives_the_same_responses(quiet, count, cuts):
    with Client(quiet.socket_path) as client:
        made = [client.request("lookup", {"prompt": f"question {i} é🙂", "namespace": "n"}) for i in range(count)]
        data = b"".join(bytes_ for _request, bytes_ in made)
        for cut in cuts:
            client.send_bytes(data[:cut])
            data = data[cut:]
        client.send_bytes(data)
        assert all(request.wait()["tier"] == "miss" for request, _bytes in made)
