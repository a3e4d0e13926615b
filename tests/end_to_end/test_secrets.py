"""A key reaches the service it is for, and nothing else."""
import os

import pytest

from harness.daemon import new_secret
from upstream import fails

QUESTION = "Where does the key go?"


def readable(pid, name):
    """A file of /proc/PID, as bytes."""
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def test_the_key_goes_to_the_service_only(daemon, client, upstream, redis, secret):
    client.ask(QUESTION, tags=["t"])
    client.ask("another wording of it")
    assert upstream.chats[0].headers["authorization"] == f"Bearer {secret}"
    assert upstream.embeddings[0].headers["authorization"] == f"Bearer {secret}"
    assert not redis.contains(secret.encode())
    for name in ("cmdline", "environ"):
        assert secret.encode() not in readable(daemon.pid, name)
    for method in ("config", "stats", "health", "hello", "list"):
        assert secret not in str(client.call(method))


def test_a_key_from_the_environment_is_taken_out_of_it(make_daemon, redis, upstream):
    key = new_secret()
    daemon = make_daemon(redis=redis, upstream=upstream, environment={"TEST_MODEL_KEY": key},
                         upstream__main={"key_file": None, "key_env": "TEST_MODEL_KEY"})
    daemon.secret_values.add(key)
    daemon.start()
    daemon.client().ask(QUESTION)
    assert upstream.chats[0].headers["authorization"] == f"Bearer {key}"
    assert key.encode() not in readable(daemon.pid, "environ")
    assert key.encode() not in readable(daemon.pid, "cmdline")
    assert daemon.client().call("reload")


def test_a_key_from_a_systemd_credential(make_daemon, redis, upstream, place):
    key = new_secret()
    with open(os.open(os.path.join(place, "model-key"), os.O_WRONLY | os.O_CREAT, 0o400), "w", encoding="ascii") as file:
        file.write(key)
    daemon = make_daemon(redis=redis, upstream=upstream, environment={"CREDENTIALS_DIRECTORY": place},
                         upstream__main={"key_file": None, "key_credential": "model-key"})
    daemon.secret_values.add(key)
    daemon.start()
    daemon.client().ask(QUESTION)
    assert upstream.chats[0].headers["authorization"] == f"Bearer {key}"


def test_each_service_gets_its_own_key(make_daemon, redis, upstream, place):
    path = os.path.join(place, "second.key")
    key = new_secret()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write(key)
    daemon = make_daemon(redis=redis, upstream=upstream, embedder={"key_file": None}, upstream__second={
        "url": "http://second.test/v1", "unix_socket": upstream.socket_path, "models": "second-model", "key_file": path})
    daemon.secret_values.add(key)
    daemon.start()
    client = daemon.client()
    client.ask(QUESTION, model="second-model")
    client.ask(QUESTION)
    assert upstream.chats[0].headers["authorization"] == f"Bearer {key}"
    assert upstream.chats[1].headers["authorization"] != f"Bearer {key}"
    assert "authorization" not in upstream.embeddings[0].headers


def test_a_redirect_does_not_take_the_key_elsewhere(daemon, client, upstream, secret):
    upstream.when(None, lambda chat: chat.reply(307, b"", headers=[f"location: http://127.0.0.1:{upstream.port}/elsewhere"]))
    client.fails("get_or_generate", "UPSTREAM", prompt=QUESTION)
    assert not [other for other in upstream.others if other.path == "/elsewhere"]


def test_a_proxy_of_the_environment_is_not_used(make_daemon, redis, upstream):
    proxy = {name: "http://127.0.0.1:1" for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")}
    daemon = make_daemon(redis=redis, upstream=upstream, environment=proxy, upstream__main={
        "url": f"http://127.0.0.1:{upstream.port}/v1", "unix_socket": None}).start()
    assert daemon.client().ask(QUESTION)["tier"] == "upstream"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
def test_a_key_file_that_others_may_read_is_refused(make_daemon, redis, upstream, mode):
    daemon = make_daemon(redis=redis, upstream=upstream)
    os.chmod(daemon.config["upstream main"]["key_file"], mode)
    daemon.spawn()
    assert daemon.process.wait(30) == 78
    daemon.process = None
    assert "key_file" in daemon.wait_log("key_file")


def test_the_log_holds_no_texts_even_when_everything_fails(daemon, client, upstream, redis):
    upstream.when(None, fails(500, "something went wrong"))
    client.fails("get_or_generate", prompt="a very private question about health", tags=["t"])
    upstream.when_embedding(None, fails(500))
    client.fails("get_or_generate", prompt="another private question, about money")
    client.fails("get_or_generate", "INVALID", prompt="a third private question", treshold=1)
    redis.kill()
    daemon.wait_part("redis", "down")
    client.fails("get_or_generate", prompt="a fourth private question")
    daemon.check_log()
    assert "private" not in daemon.log


def test_redis_asks_for_a_password_and_gets_it(make_daemon, redis, upstream, place):
    password = new_secret()
    path = os.path.join(place, "redis.key")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write(password + "\n")
    redis.command("CONFIG", "SET", "requirepass", password)
    wrong = make_daemon("a", redis, upstream).start(follows=False)
    right = make_daemon("b", redis, upstream).configure("redis", key_file=path)
    right.secret_values.add(password)
    right.start()
    assert right.client().ask(QUESTION)["tier"] == "upstream"
    right.restart()
    assert right.client().ask(QUESTION)["tier"] == "exact"
    wrong.client().ask(QUESTION)
    part = wrong.wait_part("redis", "down")
    assert "password" in part["error"]
