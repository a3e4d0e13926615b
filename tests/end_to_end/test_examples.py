"""Each file of client/examples, run as its head says."""
import importlib.util
import os
import subprocess

import pytest

from harness.daemon import build_directory, program
from harness.waiting import DEADLINE_S

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = os.path.join(TOP, "client", "examples")
QUESTION = "What is a Unix domain socket?"
ANSWER = "The answer to <What is a Unix domain socket?> is 29."
SHORT = {"role": "system", "content": "Answer in one short sentence."}


@pytest.fixture
def environment(daemon, place):
    """What an installed semcached gives: its library, its command, and the socket."""
    bin_directory = os.path.join(place, "bin")
    os.mkdir(bin_directory)
    os.symlink(program("client/semcachectl"), os.path.join(bin_directory, "semcachectl"))
    return {**os.environ, "SEMCACHE_SOCKET": daemon.socket_path, "PATH": bin_directory + ":" + os.environ["PATH"]}


def run(command, environment, status=0):
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=DEADLINE_S)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def test_c(environment, upstream):
    program_path = program("client/example_ask")
    assert run([program_path, QUESTION], environment)[0] == f"{ANSWER}\n[upstream]\n"
    out = run([program_path, QUESTION], environment)[0]
    assert out.startswith(ANSWER + "\n[") and out.endswith(f"] similarity 1.000, asked as: {QUESTION}\n")
    assert upstream.chats[0].body["messages"] == [SHORT, {"role": "user", "content": QUESTION}]
    assert upstream.chats[0].body["temperature"] == 0
    assert len(upstream.chats) == 1


def test_shell(environment, upstream):
    script = os.path.join(EXAMPLES, "ask.sh")
    out, err = run([script, QUESTION], environment)
    assert out == ANSWER + "\n" and "[upstream]" in err
    out, err = run([script, QUESTION], environment)
    assert out == ANSWER + "\n" and "from the cache" in err
    assert upstream.chats[0].body["messages"] == [SHORT, {"role": "user", "content": QUESTION}]
    assert len(upstream.chats) == 1


@pytest.fixture
def openai(daemon):
    """The Python example, as a client of this daemon."""
    spec = importlib.util.spec_from_file_location("semcache_openai", os.path.join(EXAMPLES, "semcache_openai.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.Client(daemon.socket_path)


def test_python_has_the_shape_of_openai(openai, upstream):
    _module, client = openai
    messages = [{"role": "user", "content": QUESTION}]
    reply = client.chat.completions.create(model="other-model", messages=messages, temperature=0, extra_body={"tags": ["t"]})
    assert reply.object == "chat.completion" and reply.model == "other-model"
    assert reply.choices[0].message.content == ANSWER and reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop" and reply.usage.total_tokens == 18
    assert reply.semcache["tier"] == "upstream"
    assert upstream.chats[0].body["temperature"] == 0
    again = client.chat.completions.create(model="other-model", messages=messages, temperature=0, user="somebody")
    assert again.choices[0].message.content == ANSWER and again.semcache["similarity"] == 1.0


def test_python_streams(openai):
    _module, client = openai
    messages = [{"role": "user", "content": QUESTION}]
    chunks = list(client.chat.completions.create(messages=messages, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert chunks[-1].semcache["tier"] == "upstream" and chunks[-1].usage.total_tokens == 18


def test_python_raises_what_the_daemon_says(openai, upstream):
    module, client = openai
    with pytest.raises(module.SemcacheError, match="^INVALID field=threshold"):
        client.chat.completions.create(messages=[{"role": "user", "content": "x"}], extra_body={"threshold": 7})
    assert not upstream.chats


def test_python_is_short():
    with open(os.path.join(EXAMPLES, "semcache_openai.py"), encoding="utf-8") as file:
        assert len(file.readlines()) <= 60


def test_c_compiles_with_pkg_config(environment, place):
    """As a user does it: installed under a prefix of its own, compiler flags from pkg-config alone."""
    with open(os.path.join(build_directory(), "CMakeCache.txt"), encoding="utf-8") as file:
        if "SEMCACHE_SANITIZE:BOOL=ON" in file.read():
            pytest.skip("a library with sanitizers needs a program with them")
    prefix = os.path.join(place, "prefix")
    run(["cmake", "--install", build_directory(), "--prefix", prefix, "--component", "library"], environment)
    found = [os.path.join(where, "pkgconfig") for where, names, _files in os.walk(prefix) if "pkgconfig" in names]
    environment = {**environment, "PKG_CONFIG_PATH": found[0]}
    pkg_config = ["pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "libsemcache"]
    flags = run(pkg_config, environment)[0].split()
    ask = os.path.join(place, "ask")
    run(["cc", "-Wall", "-Wextra", "-Werror", os.path.join(EXAMPLES, "ask.c"), *flags, "-o", ask], environment)
    environment["LD_LIBRARY_PATH"] = os.path.dirname(found[0])
    assert run([ask, QUESTION], environment)[0] == f"{ANSWER}\n[upstream]\n"
