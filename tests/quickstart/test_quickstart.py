"""Quickstart as a newcomer runs it: the real Redis, embedder and chat model. Its folder is build/quickstart, kept between runs.

What the demo shows is the product's claim, so it is checked to the line; what quickstart leaves on the host is too.
"""
import http.client
import json
import operator
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from harness.waiting import eventually
from upstream import Upstream

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STATE = os.path.join(TOP, "build", "quickstart")
SETTINGS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SEMCACHE_CHAT_URL", "SEMCACHE_CHAT_KEY", "SEMCACHE_CHAT_MODEL",
            "SEMCACHE_CHAT_FILE", "SEMCACHE_EMBEDDER")
FIELDS = ["part", "question", "tier", "similarity", "original_query", "best_similarity", "best_query", "model", "upstream_ms",
          "answer"]
RUN_TIMEOUT_S = 900


def environment(**settings):
    """This process's, with these settings and no others of quickstart's; an empty one keeps a .env from being asked."""
    return {**os.environ, **{name: "" for name in SETTINGS}, **settings}


def quickstart(*arguments, check=0, prefix=(), **settings):
    """Runs it and returns (standard output, standard error). `check` is the exit status it must have."""
    result = subprocess.run([*prefix, os.path.join(TOP, "quickstart"), "--dir", STATE, *arguments], check=False,
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_TIMEOUT_S,
                            env=environment(**settings))
    assert result.returncode == check, f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout, result.stderr


def without_network(script):
    """The beginning of a command line that runs `script` where there is nothing but a loopback interface. Root in a container
    may not always set that up, but then root of a user namespace may."""
    for namespace in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if subprocess.run([*namespace, "ip", "link", "set", "lo", "up"], check=False, capture_output=True).returncode == 0:
            return (*namespace, "sh", "-c", f"ip link set lo up && {script}", "sh")
    pytest.skip("this host has no network namespaces to run without network in")


def heed_interrupts():
    """In a child: the tests may have been started by something that ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments, **settings):
    """The same without waiting, in a process group of its own."""
    return subprocess.Popen([os.path.join(TOP, "quickstart"), "--dir", STATE, *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                            env=environment(**settings), preexec_fn=heed_interrupts)


def enabled_units():
    """What systemd would start: the links that enable units."""
    found = []
    for directory, _folders, files in os.walk("/etc/systemd"):
        found += [os.path.join(directory, name) for name in files]
    return sorted(found)


def redis(*command):
    """One command at quickstart's Redis; returns the lines of the answer."""
    return subprocess.run(["redis-cli", "-s", os.path.join(STATE, "sockets", "redis.sock"), *command], check=True,
                          capture_output=True, encoding="latin-1").stdout.splitlines()


def pids():
    """The process ids that quickstart has written down."""
    directory = os.path.join(STATE, "pid")
    found = {}
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), encoding="ascii") as file:
            found[name] = int(file.read().split()[0])
    return found


@pytest.fixture(scope="module", autouse=True)
def host():
    """Nothing runs at the beginning, nor at the end. Returns the units that were enabled before."""
    if os.path.isdir(STATE):
        quickstart("stop")
    yield enabled_units()
    quickstart("stop")
    assert not os.path.exists(os.path.join(STATE, "sockets")), "the folder of the sockets is still there"


@pytest.fixture(scope="module")
def first_run(host):
    """The results of a run with everything local."""
    output, told = quickstart("--json")
    return [json.loads(line) for line in output.splitlines()], told, host


@pytest.fixture
def running(first_run):
    """Everything local runs."""
    return first_run


def test_the_demo_comes_out_right(first_run):
    lines, told, _ = first_run
    semantic = [line for line in lines if line["part"] == "semantic" and "question" in line]
    hybrid = [line for line in lines if line["part"] == "hybrid" and "question" in line]
    assert all(list(line) == FIELDS for line in semantic + hybrid)
    python, python_zh, about, tell, javascript = semantic
    assert [line["tier"] for line in semantic] == ["upstream", "semantic", "semantic", "semantic", "upstream"]
    assert {line["original_query"] for line in (python_zh, about, tell)} == {python["question"]}
    assert {line["answer"] for line in (python_zh, about, tell)} == {python["answer"]}
    assert 0.72 <= min(line["similarity"] for line in (python_zh, about, tell))
    assert javascript["answer"] != python["answer"] and 0 < javascript["best_similarity"] < 0.72
    assert javascript["best_query"] in {line["question"] for line in semantic}
    stats = [line["stats"] for line in lines if "stats" in line]
    assert {name: stats[0][name] for name in ("hits", "misses", "api_calls", "hit_rate")} == \
        {"hits": 3, "misses": 2, "api_calls": 2, "hit_rate": 0.6}
    rust, rust_zh, again, again_zh = hybrid
    assert [rust["tier"], rust_zh["tier"]] == ["upstream", "semantic"]
    assert again["tier"] in ("memory", "exact") and again_zh["tier"] in ("memory", "exact")
    assert rust["best_query"] in {line["question"] for line in semantic}, "both parts share one store"
    assert rust_zh["original_query"] == again_zh["original_query"] == rust["question"] and rust_zh["similarity"] >= 0.9
    assert len({line["answer"] for line in hybrid}) == 1 and rust["answer"] != python["answer"]
    assert "semcachectl ask" in told and "stop" in told


def test_nothing_is_enabled(first_run):
    _, _, units = first_run
    assert enabled_units() == units


@pytest.mark.parametrize("language, shape", [
    ("en", r"""=== Testing the semantic cache ===
\(threshold 0\.72: .+\)

\[1/5\] question: What is Python\?
❌ semantic miss, best similarity=0\.000
🤖 calling the model: \S+
⏱️ .* \d+\.\d\d s
answer: .{1,80}\.\.\.

\[2/5\] question: .+
✅ semantic hit, similarity=0\.\d{3}
   original question: What is Python\?
answer: .{1,80}\.\.\.

\[3/5\] question: .+
✅ semantic hit, similarity=0\.\d{3}
   original question: What is Python\?
answer: .{1,80}\.\.\.

\[4/5\] question: .+
✅ semantic hit, similarity=0\.\d{3}
   original question: What is Python\?
answer: .{1,80}\.\.\.

\[5/5\] question: What is JavaScript\?
❌ semantic miss, best similarity=0\.\d{3}
🤖 calling the model: \S+
⏱️ .* \d+\.\d\d s
answer: .{1,80}\.\.\.

=== Statistics ===
cache hits: 3
cache misses: 2
API calls: 2
hit rate: 60\.0%

=== Hybrid cache ===

Testing the hybrid cache:

question: What is Rust\?
❌ semantic miss, best similarity=0\.\d{3}
🤖 calling the model

question: .+
✅ semantic hit, similarity=0\.\d{3}
   original question: What is Rust\?

question: What is Rust\?
✅ exact hit

question: .+
✅ exact hit
   original question: What is Rust\?

=== Cleaning up the test data ===
✅ test data removed \(.*\)
"""),
    ("zh", r"""=== 测试语义缓存 ===
（阈值 0\.72：.+）

\[1/5\] 查询: What is Python\?
❌ 语义缓存未命中，最高相似度=0\.000
🤖 调用LLM API: \S+
⏱️ API调用耗时: \d+\.\d\d秒
响应: .{1,80}\.\.\.

(?:\[\d/5\] 查询: .+
✅ 语义缓存命中，相似度=0\.\d{3}
   原始问题: What is Python\?
响应: .{1,80}\.\.\.

){3}\[5/5\] 查询: What is JavaScript\?
❌ 语义缓存未命中，最高相似度=0\.\d{3}
🤖 调用LLM API: \S+
⏱️ API调用耗时: \d+\.\d\d秒
响应: .{1,80}\.\.\.

=== 统计信息 ===
缓存命中: 3
缓存未命中: 2
API调用次数: 2
命中率: 60\.0%

=== 混合缓存策略 ===

测试混合缓存:

查询: What is Rust\?
❌ 语义缓存未命中，最高相似度=0\.\d{3}
🤖 调用LLM API

查询: .+
✅ 语义缓存命中，相似度=0\.\d{3}
   原始问题: What is Rust\?

查询: What is Rust\?
✅ 精确缓存命中

查询: .+
✅ 精确缓存命中
   原始问题: What is Rust\?

=== 清理测试数据 ===
✅ 测试数据已清理.*
"""),
])
def test_the_demo_prints_the_tutorials_lines(running, language, shape):
    output, _ = quickstart("demo", "--lang", language)
    assert re.fullmatch(shape, output), output


def test_the_demo_removes_what_it_stored_and_nothing_else(running):
    redis("SET", "foreign", "kept")
    redis("HSET", "semcache:entry:foreign", "field", "kept")
    before = {line: redis("DUMP", line) for line in redis("KEYS", "*")}
    quickstart("demo", "--json")
    after = set(redis("KEYS", "*"))
    assert before.keys() <= after
    assert {name for name in after - before.keys() if not name.startswith(("semcache:generation:", "semcache:log"))} == set()
    assert redis("DUMP", "foreign") == before["foreign"]
    assert redis("DUMP", "semcache:entry:foreign") == before["semcache:entry:foreign"]
    redis("DEL", "foreign", "semcache:entry:foreign")


def test_anyones_questions(running, tmp_path):
    (tmp_path / "mine").write_text("How do I boil an egg?\n\nHow can I boil eggs?\nWho wrote Hamlet?\n", encoding="utf-8")
    output, _ = quickstart("demo", "--json", "--file", str(tmp_path / "mine"))
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["tier"] for line in lines if "question" in line] == ["upstream", "semantic", "upstream"]


def test_a_second_run_needs_no_network_and_starts_nothing_twice(running):
    before = pids()
    output, _ = quickstart("--json", prefix=without_network('exec "$@"'))
    assert '"hits": 3' in output
    assert pids() == before
    quickstart("status")


def test_after_a_stop_it_starts_again_without_network_and_listens_nowhere_else(running):
    quickstart("stop")
    quickstart("status", check=1)
    # A network namespace of its own has Unix sockets of its own: all that listens in it was started by this run.
    output, _ = quickstart("--json", prefix=without_network('"$@" && ss -Hlntux'))
    assert '"hits": 3' in output
    listening = [line.split()[4] for line in output.splitlines() if "LISTEN" in line or line.startswith("udp")]
    place = os.readlink(os.path.join(STATE, "sockets"))
    assert sorted(listening) == [f"{place}/{name}.sock" for name in ("chat", "embedder", "redis", "semcached")]


def test_an_interrupted_demo_cleans_up_and_the_next_run_goes_on(running):
    before = set(redis("KEYS", "*"))
    process = start("--json")
    assert json.loads(process.stdout.readline())["question"]
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 130 and "interrupted" in told
    assert {name for name in set(redis("KEYS", "*")) - before if not name.startswith("semcache:generation:")} == set()
    quickstart("status")
    assert '"hits": 3' in quickstart("--json")[0]


def test_an_interrupted_start_goes_on(running):
    quickstart("stop")
    process = start("--json")
    eventually(lambda: os.path.exists(os.path.join(STATE, "pid", "embedder")), "the embedder to be started")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 130
    kept = pids()["embedder"]
    assert '"hits": 3' in quickstart("--json")[0]
    assert pids()["embedder"] == kept


def test_a_taken_socket_is_one_line(running):
    quickstart("stop")
    place = os.readlink(os.path.join(STATE, "sockets"))
    os.mkdir(place, 0o700)
    holder = subprocess.Popen([sys.executable, "-c", "import socket, sys; s = socket.socket(socket.AF_UNIX); "
                               "s.bind(sys.argv[1]); s.listen(); print(flush=True); input()", place + "/embedder.sock"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    _, told = quickstart(check=1)
    assert re.search(rf"embedder: the socket \S+ is taken by process {holder.pid}: end that process", told)
    holder.communicate(b"\n")
    quickstart("--json")


def test_a_dead_model_is_one_line(running, tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    _, told = quickstart(check=1, SEMCACHE_CHAT_FILE=str(tmp_path / "broken.gguf"))
    assert re.search(r"^quickstart: chat ended at once: .+ \(see .+chat\.log\)$", told, re.M), told
    quickstart("--json")


@pytest.fixture
def provider(tmp_path):
    """A service that looks like OpenAI's."""
    service = Upstream().start()
    service.when_other("/v1/models", lambda exchange: exchange.reply(200, {"data": [{"id": "served-model"}]}))
    yield service
    service.stop()


def test_with_a_key_the_service_is_used_and_the_key_stays_hidden(running, provider):
    key = "sk-test-0123456789abcdef"
    settings = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"http://127.0.0.1:{provider.port}/v1"}
    output, told = quickstart("--json", **settings)
    lines = [json.loads(line) for line in output.splitlines()]
    assert "chat model: gpt-4o-mini" in told and "embedder: text-embedding-3-small" in told
    assert lines[5]["stats"]["threshold"] == 0.85
    assert "fitted_threshold" in lines[6] and "fitted" in lines[6]["note"]
    assert provider.chats_of("JavaScript")[0].headers["authorization"] == f"Bearer {key}"
    assert provider.chats_of("JavaScript")[0].body["model"] == "gpt-4o-mini"
    for name, pid in pids().items():
        for what in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{what}", "rb") as file:
                assert key.encode() not in file.read(), f"{what} of {name} holds the key"
    for name in ("chat.key", "embedder.key"):
        assert os.stat(os.path.join(STATE, name)).st_mode & 0o777 == 0o600
    quickstart("--json")
    assert not os.path.exists(os.path.join(STATE, "chat.key"))


def test_a_provider_without_embeddings_gets_the_local_embedder(running, provider):
    provider.when_embedding(None, lambda exchange: exchange.fail(404, "unknown path"))
    output, told = quickstart("--json", OPENAI_API_KEY="k", OPENAI_BASE_URL=f"http://127.0.0.1:{provider.port}/v1")
    assert len(re.findall(r"^embedder: local, because .* has no embeddings$", told, re.M)) == 1
    assert '"hits": 3' in output and provider.chats_of("JavaScript")
    quickstart("--json")


def test_the_key_of_one_service_is_never_sent_to_another(running, provider):
    quickstart("--json", OPENAI_API_KEY="sk-test-openai", SEMCACHE_EMBEDDER="local",
               SEMCACHE_CHAT_URL=f"http://127.0.0.1:{provider.port}/v1")
    assert provider.chats_of("JavaScript")[0].body["model"] == "served-model"
    assert all("authorization" not in exchange.headers for exchange in provider.chats + provider.others)
    quickstart("--json")


@pytest.mark.parametrize("line, value", [
    ("OPENAI_API_KEY=abc", "abc"), ("export OPENAI_API_KEY=abc", "abc"), ('OPENAI_API_KEY="a b"', "a b"),
    ("OPENAI_API_KEY='$(touch x)'", "$(touch x)"), ("OPENAI_API_KEY=$(touch x)", "$(touch x)"), ("#OPENAI_API_KEY=abc", ""),
    ("OPENAI_API_KEY=abc # mine", "abc"), ("OPENAI_API_KEY=abc\r", "abc"), ("OPENAI_API_KEYS=abc", ""),
    ("OPENAI_API_KEY=one\nOPENAI_API_KEY=two", "two")])
def test_dotenv_is_data(tmp_path, line, value):
    (tmp_path / ".env").write_text(line, encoding="utf-8")
    clean = {name: text for name, text in os.environ.items() if name not in SETTINGS}
    script = '. "$1"; top=$2; read_setting OPENAI_API_KEY'
    output = subprocess.run(["bash", "-c", script, "bash", os.path.join(TOP, "quickstart"), str(tmp_path)], check=True,
                            capture_output=True, text=True, cwd=tmp_path, env=clean).stdout
    assert output == value
    assert not (tmp_path / "x").exists()


def test_the_demos_questions_are_nowhere_in_the_product():
    found = subprocess.run(["grep", "-rnE", "What is (Python|Rust)|是什么", "daemon", "proto", "client"], check=False, cwd=TOP,
                           capture_output=True, text=True)
    assert found.stdout == ""


def second_embedder(**body):
    """What the second embedder answers: (status, body)."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.path.join(STATE, "sockets", "second.sock"))
    connection.request("POST", "/v1/embeddings", json.dumps(body))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_a_second_opinion_is_had_on_request(running):
    output, _ = quickstart("--json", "--second-opinion")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["tier"] for line in lines if line["part"] == "hybrid" and "question" in line][:2] == ["upstream", "semantic"]
    assert '"hits": 3' in output
    looked, _ = quickstart("status")
    assert re.search(r"^second +answers, process \d+: dimensions=384$", looked, re.M)
    with open(os.path.join(STATE, "semcached.conf"), encoding="ascii") as file:
        assert "[second_opinion]" in file.read()
    # What its engine cannot bear does not reach it.
    for text, status in (("a\0b", 400), ("x" * 2049, 400), (" ", 400), ("\ufdfa" * 300, 200), ("\U0010ffff" * 512, 200)):
        assert second_embedder(input=text)[0] == status, text
    _, body = second_embedder(input=["What is Python?", "Python是什么？", "What is JavaScript?"])
    python, same, other = (item["embedding"] for item in body["data"])
    assert sum(x * x for x in python) == pytest.approx(1, abs=1e-5)
    assert sum(map(operator.mul, python, same)) == pytest.approx(0.757, abs=0.02)
    assert sum(map(operator.mul, python, other)) == pytest.approx(0.374, abs=0.02)
    quickstart("--json")
    assert "second" not in pids()


def test_the_centre_is_that_of_the_ordinary_questions(running):
    quickstart("--json", "--second-opinion")
    quickstart("--json")
    measure = "import sys; sys.path.insert(0, sys.argv[1]); import centred_e5 as c; print(abs(c.measure_centre() - c.numpy.load(c.CENTRE)).max())"
    result = subprocess.run([os.path.join(STATE, "venv/bin/python"), "-B", "-c", measure, os.path.join(TOP, "daemon/local")],
                            check=True, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    assert float(result.stdout) < 1e-3


def test_the_second_opinion_goes_with_the_local_embedder_only(running, provider):
    _, told = quickstart("--second-opinion", check=1, OPENAI_API_KEY="k", SEMCACHE_EMBEDDER="openai",
                         OPENAI_BASE_URL=f"http://127.0.0.1:{provider.port}/v1")
    assert "--second-opinion goes with the local embedder only" in told
    quickstart("--json")
