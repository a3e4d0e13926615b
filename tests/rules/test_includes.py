"""Includes point down. The order below is the daemon's module order; what includes upwards, or reaches for a library that is
another module's business, is refused unless it stands here with its reason."""
import os
import re
import shutil
import subprocess

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)

# From the bottom to the top. A module is a header's or a source's name without what follows its first underscore, unless the
# whole name stands here; modules of one layer may include each other.
LAYERS = [
    ["clock", "heap", "table", "pack", "log", "metrics", "config", "part", "deadline", "patience", "sockets", "resolve", "json",
     "namespaces", "verdicts", "guard", "interval", "estimate", "certificate"],
    ["redis", "http", "sse", "embeddings"],
    ["entry", "answer", "decide", "policy", "result", "memory_cache", "index", "store", "follow", "embedder", "comparison", "upstream", "provider",
     "openai"],
    ["decisions"],
    ["service"],
    ["flight", "pair", "replica", "recall", "settings", "evaluate", "calibrate", "review"],
    ["oneshot"],
    ["admin"],
    ["call"],
    ["conn"],
    ["server"],
    ["main"],
]
RANK = {module: rank for rank, modules in enumerate(LAYERS) for module in modules}

# (who, includes what): what it is allowed to use there. Each is a callback's way back up, or one number.
UPWARDS = {
    ("call.c", "conn.h"): "where a call appends what it has to say",
    ("conn.c", "server_private.h"): "the read buffer and the turn that all connections share",
    ("admin_private.h", "call_private.h"): "the call that an administrative method finishes",
    ("admin_config.c", "conn.h"): "who changes a setting",
    ("admin_decisions.c", "conn.h"): "where a watcher is told, if it reads",
    ("admin_feedback.c", "conn.h"): "who gives a verdict",
    ("admin_stats.c", "server.h"): "how many connections there are",
}

# A library's header: the modules that may include it.
LIBRARIES = {
    "curl/": ["http"],
    "hiredis": ["redis", "store", "follow", "index_search", "index_vset"],
}
NEVER_UV = ["flight", "call", "decide", "guard", "answer", "admin", "result", "entry", "memory_cache"]


def module_of(name):
    """daemon/flight_riders.c -> flight; memory_cache.c -> memory_cache."""
    stem = os.path.splitext(os.path.basename(name))[0]
    while stem not in RANK and "_" in stem:
        stem = stem.rsplit("_", 1)[0]
    return stem


def sources(directory):
    """The C files of a directory, by name."""
    return sorted(name for name in os.listdir(os.path.join(TOP, directory)) if name.endswith((".c", ".h")))


def includes(directory, name):
    """(own headers, system headers) that a file includes."""
    with open(os.path.join(TOP, directory, name), encoding="utf-8") as file:
        found = INCLUDE.findall(file.read())
    return [own for own, _system in found if own], [system for _own, system in found if system]


def test_every_module_of_the_daemon_has_its_place():
    unknown = [name for name in sources("daemon") if module_of(name) not in RANK]
    assert not unknown, f"say in LAYERS where these belong: {unknown}"


def test_includes_of_the_daemon_point_down():
    wrong, used = [], set()
    for name in sources("daemon"):
        for own in includes("daemon", name)[0]:
            if own.startswith("../"):
                continue
            if RANK[module_of(own)] > RANK[module_of(name)]:
                used.add((name, own))
                if (name, own) not in UPWARDS:
                    wrong.append(f"daemon/{name} includes {own}")
    assert not wrong
    assert used == set(UPWARDS), "an exception that nobody needs"


def test_headers_do_not_include_each_other_in_circles():
    graph = {name: [own for own in includes("daemon", name)[0] if not own.startswith("../")]
             for name in sources("daemon") if name.endswith(".h")}
    done = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in graph.get(name, []):
                visit(other, [*path, name])
            done.add(name)
    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("directory, allowed", [("proto", []), ("client", ["../proto/"]), ("daemon", ["../proto/"])])
def test_client_and_daemon_share_only_proto(directory, allowed):
    wrong = [f"{directory}/{name} includes {own}" for name in sources(directory) for own in includes(directory, name)[0]
             if "/" in own and not own.startswith(tuple(allowed) or "\0")]
    assert not wrong


def test_a_library_is_used_by_its_module_only():
    wrong = []
    for directory in ("proto", "daemon", "client"):
        for name in sources(directory):
            for system in includes(directory, name)[1]:
                for prefix, homes in LIBRARIES.items():
                    if system.startswith(prefix) and not (directory == "daemon" and module_of(name) in homes):
                        wrong.append(f"{directory}/{name} includes <{system}>")
    assert not wrong


def test_those_who_decide_know_no_event_loop():
    wrong = [f"daemon/{name}" for name in sources("daemon") if module_of(name) in NEVER_UV and "uv.h" in includes("daemon", name)[1]]
    assert not wrong


def test_proto_does_no_input_and_output():
    system = {header for name in sources("proto") for header in includes("proto", name)[1]}
    assert not system & {"uv.h", "unistd.h", "sys/socket.h", "fcntl.h", "poll.h"}


def flags():
    """Where the libraries' headers are."""
    names = ["libuv", "hiredis", "libcurl", "json-c", "libcrypto"]
    return subprocess.run(["pkg-config", "--cflags", *names], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.skipif(not shutil.which("gcc") or not shutil.which("pkg-config"), reason="needs gcc and pkg-config")
@pytest.mark.parametrize("directory", ["proto", "daemon", "client"])
def test_headers_compile_alone(directory):
    for name in sources(directory):
        if name.endswith(".h"):
            done = subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c",
                                   "-I", TOP, *flags(), os.path.join(TOP, directory, name)], check=False, capture_output=True,
                                  text=True)
            errors = [line for line in done.stderr.splitlines() if "pragma once" not in line and "error" in line]
            assert not errors, "\n".join(errors)
