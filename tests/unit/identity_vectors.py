#!/usr/bin/env python3
"""A second implementation of proto/identity.h, short rather than fast, that the vectors are computed by.

usage: identity_vectors.py [--write] [FILE]    checks FILE (proto/identity.vectors), or writes the digests into it

Needs the package msgpack. The format of the file is described at its head.
"""
import hashlib
import json
import math
import os
import struct
import sys

import msgpack

IGNORED = ["metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "store",
           "stream", "stream_options", "user"]
OWN_PLACE = ["model", "messages", "stream", "stream_options"]
COMPUTED = ["identity", "scope", "text", "not compared", "never store", "refused"]


class Refused(Exception):
    """The input is not a question; the argument is the code and the field."""


def text_bytes(value):
    data = value if isinstance(value, bytes) else value.encode("utf-8")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused() from error
    if b"\0" in data:
        raise Refused()
    return data


def head(tag, number):
    return tag + struct.pack(">Q", number & (2**64 - 1))


def text(value):
    data = value if isinstance(value, bytes) else value.encode("utf-8")
    return head(b"s", len(data)) + data


def canonical(value):
    """A value as bytes. Maps are lists of pairs inside a Map, so that a key that is there twice can be seen."""
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused()
        if value.is_integer() and abs(value) <= 2**53:
            return canonical(int(value))
        return b"d" + struct.pack(">d", value)
    if isinstance(value, int):
        return head(b"u" if value >= 0 else b"i", value)
    if isinstance(value, (str, bytes)):
        return text(text_bytes(value))
    if isinstance(value, list):
        return head(b"a", len(value)) + b"".join(canonical(v) for v in value)
    if isinstance(value, Map):
        pairs = {}
        for key, inner in value.pairs:
            if not isinstance(key, (str, bytes)) or text_bytes(key) in pairs:
                raise Refused()
            pairs[text_bytes(key)] = inner
        return head(b"m", len(pairs)) + b"".join(text(k) + canonical(pairs[k]) for k in sorted(pairs))
    raise Refused()


class Map:
    def __init__(self, pairs):
        self.pairs = list(pairs)

    def get(self, name):
        for key, value in self.pairs:
            if key in (name, name.encode()):
                return value
        return None

    def has(self, name):
        return any(key in (name, name.encode()) for key, _ in self.pairs)


def as_text(value):
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None


def plain_text(content):
    """The bytes of a content that is plainly a text, else None."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Map) and len(content[0].pairs) == 2 \
            and as_text(content[0].get("type")) == b"text" and as_text(content[0].get("text")) is not None:
        return as_text(content[0].get("text"))
    return as_text(content)


def check_messages(messages):
    if not isinstance(messages, list) or not messages:
        raise Refused()
    for message in messages:
        if not isinstance(message, Map) or as_text(message.get("role")) is None:
            raise Refused()
        content = message.get("content")
        if isinstance(content, list):
            if not all(isinstance(part, Map) for part in content):
                raise Refused()
        elif content is not None and as_text(content) is None:
            raise Refused()


def canonical_messages(messages, cut=None):
    shown = []
    for i, message in enumerate(messages):
        pairs = []
        for key, value in message.pairs:
            if as_text(key) == b"content" and plain_text(value) is not None:
                value = plain_text(value)
                if cut is not None and i == len(messages) - 1:
                    value = cut_out(value, cut)
            pairs.append((key, value))
        shown.append(Map(pairs))
    return canonical(shown)


def cut_out(content, cut):
    at = start = content.find(cut)
    while start >= 0:
        at = start
        start = content.find(cut, start + len(cut))
    return content if at < 0 else [content[:at], content[at + len(cut):]]


def canonical_parameters(parameters):
    if not isinstance(parameters, Map):
        raise Refused()
    canonical(parameters)  # what is ignored must be valid too
    if any(parameters.has(name) for name in OWN_PLACE):
        raise Refused()
    return canonical(Map((k, v) for k, v in parameters.pairs if as_text(k).decode() not in IGNORED))


def digest(data):
    return hashlib.sha256(data).hexdigest()


def compared(parameters, messages):
    """Why the question is not compared by meaning, or None; and the last message's text."""
    for name in ("tools", "functions"):
        value = parameters.get(name)
        if value.pairs if isinstance(value, Map) else value:
            return "tools", None
    for message in messages:
        content = message.get("content")
        if isinstance(content, list) and any(as_text(part.get("type")) != b"text" for part in content):
            return "images", None
    last = plain_text(messages[-1].get("content")) if as_text(messages[-1].get("role")) == b"user" else None
    return (None, last) if last else ("not text", None)


def asks_more(parameters):
    n = parameters.get("n")
    several = n is not None and not (isinstance(n, (int, float)) and 0 <= n <= 1)
    return several or bool(parameters.get("logprobs")) or bool(parameters.get("top_logprobs"))


def question_fields(source):
    """Computes what the file says of one input, as {field: value}."""
    parameters = source.get("parameters") if source.has("parameters") else Map([])
    setting = [text(source.get(k) or "") for k in ("namespace", "partition", "upstream", "model")]
    setting.append(text(hashlib.sha256(b"".join(text(name) for name in IGNORED)).digest()))
    field = "parameters"
    try:
        setting.append(canonical_parameters(parameters))
        field = "prompt" if source.has("prompt") else "messages"
        if source.has("prompt"):
            if not source.get("prompt"):
                raise Refused()
            messages = [Map([("role", "user"), ("content", source.get("prompt"))])]
        else:
            messages = source.get("messages")
        check_messages(messages)
        exact = text("semcache-identity-1") + b"".join(setting) + canonical_messages(messages)
    except Refused:
        return {"refused": f"INVALID {field}"}
    fields = {"identity": digest(exact)}
    why, last = compared(parameters, messages)
    if why:
        fields["not compared"] = why
    else:
        cut = as_text(source.get("question")) or last
        context = source.get("context") or "all"
        if context == "all":
            rest = text("all") + canonical_messages(messages, cut)
        elif context == "system":
            rest = text("system") + canonical_messages(
                [m for m in messages if as_text(m.get("role")) in (b"system", b"developer")])
        else:
            rest = text("label") + text(context)
        fields["scope"] = digest(text("semcache-scope-1") + b"".join(setting) + rest)
        fields["text"] = json.dumps(cut.decode(), ensure_ascii=False)
    if asks_more(parameters):
        fields["never store"] = "true"
    return fields


def from_json(pairs):
    """What JSON cannot say is written as a map of one key that starts with a dollar sign."""
    if len(pairs) == 1 and pairs[0][0].startswith("$"):
        kind, value = pairs[0]
        if kind == "$bin":
            return value.encode()
        if kind == "$float32":
            return struct.unpack(">f", struct.pack(">f", value))[0]
        if kind == "$msgpack":
            try:
                return msgpack.unpackb(bytes.fromhex(value), object_pairs_hook=Map, strict_map_key=False)
            except UnicodeDecodeError:
                return b"\xff"
        raise ValueError(f"unknown kind {kind}")
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is there twice; say it with $msgpack")
    return Map(pairs)


def read(path):
    """Yields (blocks of comments and blank lines, or a vector's [field, value] lines)."""
    with open(path, encoding="utf-8") as file:
        blocks = file.read().rstrip("\n").split("\n\n")
    for block in blocks:
        lines = block.split("\n")
        comments = [line for line in lines if line.startswith("#")]
        yield comments, [line.split(": ", 1) for line in lines if not line.startswith("#")]


def relation_holds(relation, mine, other):
    kind = "scope" if relation.endswith("scope") else "identity"
    return (mine.get(kind) == other.get(kind)) == relation.startswith("same")


def main():
    arguments = [a for a in sys.argv[1:] if a != "--write"]
    here = os.path.dirname(os.path.abspath(__file__))
    path = arguments[0] if arguments else os.path.join(here, "..", "..", "proto", "identity.vectors")
    known, blocks, failed = {}, [], 0
    for comments, fields in read(path):
        if fields:
            given = dict(fields)
            name = given["name"]
            made = question_fields(json.loads(given["input"], object_pairs_hook=from_json))
            said = {k: v for k, v in given.items() if k in COMPUTED}
            if said != made and "--write" not in sys.argv:
                print(f"{name}: the file says {said}, computed is {made}")
                failed += 1
            for relation, other in fields:
                if relation.startswith(("same", "other")) and not relation_holds(relation, made, known[other]):
                    print(f"{name}: does not hold: {relation} {other}")
                    failed += 1
            known[name] = made
            fields = [f for f in fields if f[0] not in COMPUTED] + [[k, made[k]] for k in COMPUTED if k in made]
        blocks.append("\n".join(comments + [f"{k}: {v}" for k, v in fields]))
    if "--write" in sys.argv:
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n\n".join(blocks) + "\n")
    print(f"{len(known) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
