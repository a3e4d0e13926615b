"""semcachectl against a scripted peer: every error's exit code, and results that no daemon should send."""
import json
import os
import socket
import subprocess
import threading

import msgpack
import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S

CODES = {"INVALID": 65, "TOO_LARGE": 65, "UNKNOWN_METHOD": 76, "DUPLICATE_ID": 70, "BUSY": 75, "QUOTA": 75, "DENIED": 77,
         "NOT_FOUND": 1, "TIMEOUT": 75, "CANCELLED": 75, "UPSTREAM": 74, "UNAVAILABLE": 69, "INTERNAL": 70, "SURPRISE": 76}
NASTY = "\x1b[31mred\x07\r\n\u009b2J\u202e ok"
NASTY_ENTRY = {"entry": NASTY, "question": NASTY, "similarity": 0.5, "score": 0.5, "alias": NASTY, "model": NASTY, "why": NASTY,
               "vetoes": [NASTY], "shadow_vetoes": [NASTY], "off_vetoes": [NASTY], "created_ms": 1,
               "differs": [{"what": NASTY, "theirs": NASTY, "ours": [NASTY]}]}
EXPLAINED = {"would": "served", "tier": NASTY, "entry": NASTY, "original_query": NASTY, "reason": NASTY, "mode": NASTY, "origin": NASTY,
             "guards_on": [NASTY], "guards_shadow": [NASTY], "why_not_compared": NASTY, "why_no_elsewhere": NASTY,
             "exact": NASTY_ENTRY, "candidates": [NASTY_ENTRY], "elsewhere": [NASTY_ENTRY]}
RECORD = {"request": 1, "at_ms": 1, "namespace": NASTY, "tier": NASTY, "question": NASTY, "model": NASTY, "upstream": NASTY,
          "tags": [NASTY], "mode": NASTY, "rule": NASTY, "origin": NASTY, "reason": NASTY, "guards_on": [NASTY],
          "guards_shadow": [NASTY], "best": 0, "candidates": [NASTY_ENTRY], "served": NASTY_ENTRY,
          "review": {"source": NASTY, "outcome": NASTY, "stored": NASTY, "fresh": NASTY}}


@pytest.fixture
def ctl(place):
    """A function: semcachectl with these arguments, answered by `respond(method, params)` -> (error, result), or bytes, or
    None (the connection ends). Returns (exit code, standard output, standard error) as bytes."""
    path = os.path.join(place, "peer.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve(respond):
        connection, _address = listener.accept()
        with connection:
            unpacker = msgpack.Unpacker()
            while data := connection.recv(65536):
                unpacker.feed(data)
                for kind, number, method, params in unpacker:
                    assert kind == 0
                    response = respond(method, *params)
                    if response is None:
                        return
                    if not isinstance(response, bytes):
                        response = msgpack.packb([1, number, *response])
                    connection.sendall(response)

    def call(*arguments, respond):
        thread = threading.Thread(target=serve, args=(respond,), daemon=True)
        thread.start()
        done = subprocess.run([program("client/semcachectl"), *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              env={**os.environ, "SEMCACHE_SOCKET": path}, timeout=DEADLINE_S)
        thread.join(DEADLINE_S)
        assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode()
        return done.returncode, done.stdout, done.stderr

    yield call
    listener.close()


@pytest.mark.parametrize("code", CODES)
def test_each_error_has_its_exit_code(ctl, code):
    error = f"{code} field=x status=429 retry_ms=7 : said the peer"
    status, out, err = ctl("ask", "x", "--json", respond=lambda method, params: (error, None))
    assert (status, err) == (CODES[code], b"")
    told = json.loads(out)["error"]
    assert told["code"] == ("PROTOCOL" if code == "SURPRISE" else code)
    assert "said the peer" in told["text"]
    if code != "SURPRISE":
        assert (told["detail"], told["status"], told["retry_ms"]) == ("field=x status=429 retry_ms=7", 429, 7)
    status, out, err = ctl("ask", "x", respond=lambda method, params: (error, None))
    assert (status, out) == (CODES[code], b"") and b"said the peer" in err


@pytest.mark.parametrize("command,result", [
    (["list"], {"entries": [{"entry": NASTY, "question": NASTY, "ttl": 1, "tags": [NASTY], "model": NASTY}], "next": NASTY}),
    (["show", "ab"], {"entry": NASTY, NASTY: NASTY, "aliases": [{NASTY: NASTY}], "usage": {NASTY: 1}}),
    (["health"], {"status": 1, "state": NASTY, "parts": [{"part": NASTY, "state": NASTY, "since": 1, "error": NASTY}]}),
    (["stats"], {"version": NASTY, "counters": {NASTY: 1}, "latencies": {NASTY: {"count": 1, "p50_us": 1, NASTY: 2}}}),
    (["config"], {NASTY: {NASTY: {"value": NASTY, "origin": NASTY}}}),
    (["hello"], {"version": NASTY, "methods": [NASTY]}),
    (["lookup", "x"], {"tier": NASTY, "model": NASTY, "original_query": NASTY, "finish_reason": NASTY}),
    (["lookup", "x"], {"tier": "miss", "best_query": NASTY, "best_similarity": 0.5}),
    (["explain", "x"], EXPLAINED),
    (["explain", "x"], {**EXPLAINED, "would": "missed"}),
    (["explain", "--request", "1"], RECORD),
    (["explain", "--request", "1"], {**RECORD, "served": None}),
    (["reject", "ab", "x"], {"verdict": NASTY, "alias": NASTY, NASTY: NASTY}),
    (["config", "--set", "ttl=1"], {"changed": [NASTY], "stored": NASTY}),
    (["stats"], {"namespaces": {NASTY: {"guards": {NASTY: {"vetoed": 1}}, "reviews": {"estimates": [{"source": NASTY}]}}}}),
])
def test_nothing_in_a_result_commands_the_terminal(ctl, command, result):
    _status, out, err = ctl(*command, respond=lambda method, params: (None, result))
    shown = (out + err).decode()
    assert "ok" in shown
    for character in ("\x1b", "\x07", "\r", "\u009b"):
        assert character not in shown


def test_a_refusal_does_not_command_it_either(ctl):
    _status, _out, err = ctl("ping", respond=lambda method, params: (f"BUSY {NASTY} : {NASTY}", None))
    assert b"BUSY" in err and b"\x1b" not in err and b"\x07" not in err


@pytest.mark.parametrize("result", [None, 5, "text", [], [1] * 3])
def test_a_result_that_is_no_map_is_said_to_be_none(ctl, result):
    status, out, err = ctl("stats", respond=lambda method, params: (None, result))
    assert (status, out) == (76, b"") and b"PROTOCOL" in err
    status, out, _err = ctl("stats", "--json", respond=lambda method, params: (None, result))
    assert status == 76 and json.loads(out)["error"]["code"] == "PROTOCOL"


@pytest.mark.parametrize("command", [["stats"], ["stats", "--prometheus"], ["health"], ["list"], ["show", "ab"], ["config"],
                                     ["reload"], ["hello"], ["flush", "--yes"], ["invalidate", "--tag", "x"], ["drain"],
                                     ["add", "q", "a"], ["explain", "q"], ["explain", "--request", "1"], ["reject", "e", "q"],
                                     ["config", "--unset", "ttl"]])
def test_wrong_types_inside_a_result_break_nothing(ctl, command):
    for value in (None, 5, -1.5, "x", [], [[]], [{}], {}, {"x": {}}, {"x": [None]}, b"\xff\xfe", True):
        result = {key: value for key in ("counters", "gauges", "errors", "latencies", "help", "version", "parts", "entries",
                                         "next", "status", "state", "limits", "methods", "x", "candidates", "elsewhere", "exact",
                                         "served", "review", "best", "reason", "similarity", "tags", "guards_on", "would",
                                         "namespaces", "score_threshold", "rule")}
        status, _out, _err = ctl(*command, respond=lambda method, params, result=result: (None, result))
        assert status in (0, 1, 2)


def test_too_many_values_are_not_printed(ctl):
    status, _out, err = ctl("stats", respond=lambda method, params: (None, {"x": [None] * 1500000}))
    assert status == 76 and b"too many values" in err


def test_json_keeps_numbers_and_texts_as_they_are(ctl):
    result = {"big": 2**64 - 1, "small": -2**63, "float": 1.0, "third": 1 / 3, "text": "é\n\"\\/ 🙂", "nan": float("nan"),
              "inf": float("inf"), "bytes": b"abc", "nil": None, "no": False, "list": [1, [2]], "map": {"a": {}}}
    status, out, _err = ctl("stats", "--json", respond=lambda method, params: (None, result))
    assert status == 0
    assert json.loads(out) == {**result, "nan": None, "inf": None, "bytes": "abc"}
    assert b'"float":1.0' in out


def test_a_connection_that_ends_twice_is_told(ctl):
    status, out, _err = ctl("drain", "--json", respond=lambda method, params: None)
    assert status == 74 and json.loads(out)["error"]["code"] == "CLOSED"


def test_noise_is_told(ctl):
    status, _out, err = ctl("ping", respond=lambda method, params: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert status == 76 and b"not semcached" in err


def test_the_question_goes_out_as_it_was_given(ctl):
    seen = []

    def respond(method, params):
        seen.append((method, params))
        return None, {"tier": "miss"}
    ctl("lookup", "Grüße 🙂\n", "-n", "a", "-p", "x={\"y\":[1,-2,0.5,null,true,18446744073709551615]}", "--max-age", "0",
        "-t", "-1", "--question", "q", "--context", "kb-1", "--exact", "--timeout", "1.5", respond=respond)
    (method, params), = seen
    assert method == "lookup" and 0 < params.pop("timeout_ms") <= 1500
    assert params == {"prompt": "Grüße 🙂\n", "namespace": "a", "max_age": 0, "threshold": -1.0, "question": "q",
                      "context": "kb-1", "mode": "exact",
                      "parameters": {"x": {"y": [1, -2, 0.5, None, True, 18446744073709551615]}}}
