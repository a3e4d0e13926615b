"""health: 0 ok, 1 degraded, 2 down; it names the part and since when."""
import pytest

from harness.waiting import eventually
from upstream import fails, holds


def test_all_is_well(daemon):
    health = daemon.health()
    assert (health["status"], health["state"]) == (0, "ok")
    assert {part["part"] for part in health["parts"]} >= {"redis", "embedder", "upstream main"}
    for part in health["parts"]:
        assert part["state"] == "up" and part["since"] >= 0 and part["error"] is None


def test_without_redis_it_is_degraded(daemon, redis):
    redis.kill()
    part = daemon.wait_part("redis", "down")
    assert part["error"]
    health = daemon.health()
    assert (health["status"], health["state"]) == (1, "degraded")
    redis.start()
    daemon.wait_part("redis", "up")
    assert daemon.health()["status"] == 0


def test_without_the_embedder_it_is_degraded(daemon, upstream):
    upstream.when_embedding(None, fails(500))
    upstream.when_other("/v1/models", fails(500))
    client = daemon.client()
    for i in range(3):
        client.ask(f"nobody embeds this question {i}")
    daemon.wait_part("embedder", "down")
    assert daemon.health()["status"] == 1
    upstream.forget_rules()
    daemon.wait_part("embedder", "up")
    assert daemon.health()["status"] == 0


def test_without_a_model_no_new_question_can_be_answered(daemon, upstream):
    client = daemon.client()
    client.ask("known before")
    upstream.refuse()
    for i in range(3):
        client.fails("get_or_generate", prompt=f"nobody answers this {i}", mode="exact")
    daemon.wait_part("upstream main", "down")
    health = daemon.health()
    assert (health["status"], health["state"]) == (2, "down")
    assert client.ask("known before")["tier"] == "memory"
    upstream.listen()
    daemon.wait_part("upstream main", "up")
    eventually(lambda: daemon.health()["status"] == 0, "all to be well again")


def test_with_one_of_two_models_it_is_degraded(make_daemon, redis, upstream, place):
    daemon = make_daemon(redis=redis, upstream=upstream, upstream__second={
        "url": "http://second.test/v1", "unix_socket": f"{place}/nobody.sock", "models": "second-model"}).start()
    client = daemon.client()
    for i in range(3):
        client.fails("get_or_generate", prompt=f"nobody answers this {i}", model="second-model")
    daemon.wait_part("upstream second", "down")
    assert daemon.health()["status"] == 1
    assert client.ask("answered by the first")["tier"] == "upstream"


def test_since_counts_from_the_change(daemon, redis):
    eventually(lambda: daemon.part("redis")["since"] >= 1, "a second")
    redis.kill()
    part = daemon.wait_part("redis", "down")
    assert part["since"] <= daemon.stats()["uptime_s"]
    assert part["since"] < 1 or part["since"] <= daemon.part("redis")["since"]


def test_a_change_is_one_log_line_each(daemon, redis):
    redis.kill()
    daemon.wait_part("redis", "down")
    redis.start()
    daemon.wait_part("redis", "up")
    changes = [line for line in daemon.lines if "redis" in line and ("down" in line or "up" in line.split())]
    assert 1 <= len(changes) <= 4, changes


def test_parts_that_are_not_configured_are_no_fault(make_daemon, upstream):
    daemon = make_daemon(upstream=upstream).configure("embedder", url=None, unix_socket=None, model=None, key_file=None).start()
    assert daemon.health()["status"] == 0


def test_without_any_upstream_nothing_new_can_be_answered(make_daemon, redis):
    daemon = make_daemon(redis=redis).start()
    assert daemon.health()["status"] == 2
    client = daemon.client()
    client.fails("get_or_generate", "UNAVAILABLE", prompt="who would answer this?")
    client.add("who would answer this?", "the operator")
    assert client.ask("who would answer this?")["tier"] == "memory"


@pytest.mark.parametrize("what", ["health", "stats", "ping", "hello"])
def test_it_answers_while_everything_else_waits(daemon, upstream, redis, what):
    upstream.when(None, holds)
    client = daemon.client()
    request = client.start_ask("held for long")
    chat = upstream.wait_chat()
    redis.freeze()
    client.start_all("lookup", [{"prompt": f"waits for Redis {i}"} for i in range(50)])
    client.call(what)
    redis.thaw()
    chat.token("done").finish()
    assert request.wait()["answer"] == "done"
