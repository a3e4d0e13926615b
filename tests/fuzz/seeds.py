#!/usr/bin/env python3
"""Writes small inputs to begin with into DIR/fuzz_scanner, fuzz_request, fuzz_identity, fuzz_decisions and fuzz_guard.

usage: seeds.py DIR    then: fuzz_scanner CORPUS DIR/fuzz_scanner, and so on
"""
import os
import sys

import msgpack

PARAMETERS = {"temperature": 0.5, "max_tokens": 100, "user": "u", "seed": -1, "n": 2, "logprobs": True,
              "response_format": {"type": "json_object", "schema": {"b": [1, 2.5, None], "a": {}}}}
MESSAGES = [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Was ist das? äöü €"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
            {"role": "user", "content": "context Q context Q end"}]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": "x"}]}]
ALL = {"model": "m", "messages": MESSAGES, "parameters": PARAMETERS, "namespace": "n", "question": "Q",
       "context": "system", "cache": "refresh", "max_age": 0, "threshold": 0.5, "mode": "exact", "ttl": 3600,
       "tags": ["a", "b"], "stream": True, "timeout_ms": 1000}


def requests():
    yield [0, 1, "get_or_generate", [ALL]]
    yield [0, 2, "get_or_generate", [{"prompt": "What?"}]]
    yield [0, 3, "lookup", [{"prompt": b"bin", "threshold": -1, "context": "label"}]]
    yield [0, 4, "add", [{"prompt": "What?", "answer": "That.", "ttl": 0, "tags": []}]]
    yield [0, 5, "invalidate", [{"tag": "a", "dry_run": True, "namespace": "n"}]]
    yield [0, 6, "list", [{"limit": 10, "after": "", "namespace": None}]]
    yield [0, 7, "show", [{"entry": "0" * 64}]]
    yield [0, 8, "hello", [{"client": "fuzz"}]]
    yield [0, 2**53, "ping", []]
    yield [2, "cancel", [1]]
    yield [2, "other", {}]


def values():
    yield from requests()
    yield [None, True, -1, -2**63, 2**64 - 1, 1.5, "x" * 40, b"y" * 300, msgpack.ExtType(5, b"abc"), [[[[]]]], {1: {}}]
    yield msgpack.ExtType(1, b"x" * 16)
    yield list(range(20))


def questions():
    for messages in ("What is this?", MESSAGES, IMAGE):
        for context in ("all", "system", "label"):
            yield PARAMETERS, messages, "Q", context, "m"
    yield {}, MESSAGES[:1], None, None, None
    yield {"tools": [{}]}, "x", None, None, None
    yield {str(i * 37 % 40): i for i in range(40)}, "aaaa", "aa", None, None


def decisions():
    """Records of the log of decisions, as fuzz_decisions.c takes them."""
    record = {"request": 1, "namespace": "default", "identity": "02" + "0" * 62, "tags": ["office", "b"],
              "candidates": [{"entry": "01" + "0" * 62, "question": "a"}, {"entry": "03" + "0" * 62}],
              "served": {"entry": "01" + "0" * 62}}
    for changed in ({}, {"namespace": "other"}, {"tags": None}, {"candidates": {}}, {"served": None}, {"identity": 5}):
        body = msgpack.packb({**record, **changed})
        yield b"\0" + 2 * (len(body).to_bytes(2, "big") + body)
    yield b"\1semdec1\n" + bytes([5, 0, 0, 0, 1, 0, 0, 0]) + bytes(32) + b"\x81\xa1a\xa1b"


def pairs():
    """Two questions and an operator's words, as fuzz_guard.c takes them: what the guards' own test compares."""
    cases = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "unit", "guard_cases.tsv")
    with open(cases, encoding="utf-8") as file:
        for line in list(file)[1::9]:
            _guard, _label, first, second = line.rstrip("\n").split("\t")
            yield f"{first}\n{second}\nport/starboard, 左舷/右舷".encode()


def write(folder, inputs):
    os.makedirs(folder, exist_ok=True)
    for i, data in enumerate(inputs):
        with open(os.path.join(folder, f"seed{i}"), "wb") as file:
            file.write(data)


def main():
    top = sys.argv[1]
    write(os.path.join(top, "fuzz_scanner"), (b"\x05\xff" + msgpack.packb(v) for v in values()))
    write(os.path.join(top, "fuzz_request"), (msgpack.packb(r) for r in requests()))
    write(os.path.join(top, "fuzz_identity"), (b"".join(msgpack.packb(v) for v in q) for q in questions()))
    write(os.path.join(top, "fuzz_decisions"), decisions())
    write(os.path.join(top, "fuzz_guard"), pairs())


if __name__ == "__main__":
    main()
