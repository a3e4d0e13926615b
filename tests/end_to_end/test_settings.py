"""Run-time settings: `config {set, unset}` is in force at once, on all hosts, after restarts, above the file, and never half."""
import json
import os
import signal

import pytest

from harness.waiting import eventually
from test_semcachectl import caller

QUESTION = "Is this setting in force everywhere?"
WORDING = "Does this setting hold on every host?"


@pytest.fixture
def pair(make_daemon, redis, upstream):
    """Two running daemons on one Redis, and two questions 0.85 near each other."""
    upstream.vectors.near(WORDING, QUESTION, 0.85)
    return [make_daemon(name, redis, upstream).configure("redis", timeout_ms="300").start() for name in ("a", "b")]


def setting(client, key, namespace="default"):
    """(value, origin) of a key in the section of a namespace, or None where it has none."""
    section = client.call("config").get(f"namespace {namespace}")
    return section and (section[key]["value"], section[key]["origin"])


def becomes(client, key, value, namespace="default"):
    """Until a value is in force."""
    return eventually(lambda: setting(client, key, namespace) == value, f"{key} of {namespace} to be {value}")


def test_what_is_set_on_one_host_decides_on_the_other_too(pair):
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "yes")
    two.lookup(QUESTION)
    eventually(lambda: two.lookup(WORDING)["best_query"] == QUESTION, "the other to have the entry")
    assert two.lookup(WORDING)["reason"] == "below_threshold"
    assert one.call("config", set={"threshold": "0.8"}) == {"changed": ["[namespace default] threshold"], "stored": "redis"}
    assert one.lookup(WORDING)["tier"] == "semantic"
    becomes(two, "threshold", ("0.8", "redis"))
    assert two.lookup(WORDING)["tier"] == "semantic"
    assert setting(one, "threshold") == ("0.8", "redis")
    pair[1].wait_log("settings_followed .*threshold")
    two.call("config", unset=["threshold"])
    assert setting(two, "threshold") == ("0.9", "default")
    becomes(one, "threshold", ("0.9", "default"))
    assert one.lookup(WORDING)["tier"] == "miss"


def test_a_restart_keeps_what_was_set_and_a_reload_does(pair, redis):
    one = pair[0].client()
    one.call("config", namespace="kb", set={"threshold": 0.75, "ttl": 60, "guards": "negation:off"})
    one.call("config", set={"mode": "exact"})
    assert redis.hash("semcache:settings:kb") == {"threshold": b"0.75", "ttl": b"60", "guards": b"negation:off"}
    assert redis.command("TTL", "semcache:settings:kb") == -1
    for daemon in pair:
        daemon.restart()
        client = daemon.client()
        assert setting(client, "threshold", "kb") == ("0.75", "redis")
        assert setting(client, "ttl", "kb") == ("60", "redis")
        assert "negation:off" in setting(client, "guards", "kb")[0]
        assert setting(client, "mode", "kb") == ("exact", "redis")
        assert setting(client, "alias_ttl", "kb") == ("3600", "default")
        daemon.config["namespace kb"] = {"threshold": "0.99", "alias_ttl": "7"}
        daemon.write_config()
        changed = client.call("reload")["changed"]
        assert changed == ["[namespace kb] alias_ttl"]
        assert setting(client, "threshold", "kb") == ("0.75", "redis")
        assert setting(client, "alias_ttl", "kb") == ("7", "file")
    one = pair[0].client()
    assert one.call("config", namespace="kb", unset=["threshold"])["changed"] == ["[namespace kb] threshold"]
    assert setting(one, "threshold", "kb") == ("0.99", "file")
    becomes(pair[1].client(), "threshold", ("0.99", "file"), "kb")


def test_sighup_keeps_what_was_set(daemon):
    client = daemon.client()
    client.call("config", set={"threshold": 0.8})
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_log("reloaded ")
    assert setting(client, "threshold") == ("0.8", "redis")


def test_the_file_is_not_read_again(daemon):
    client = daemon.client()
    daemon.config["namespace default"]["ttl"] = "5"
    daemon.write_config()
    client.call("config", set={"threshold": 0.8})
    assert setting(client, "ttl") == ("3600", "default")
    os.unlink(daemon.config_path)
    os.unlink(daemon.config["upstream main"]["key_file"])
    client.call("config", set={"threshold": 0.7})
    assert setting(client, "threshold") == ("0.7", "redis")
    assert client.ask(QUESTION)["tier"] == "upstream"


@pytest.mark.parametrize("values, parts", [
    ({"treshold": "0.5"}, ["treshold", "threshold_min"]),
    ({"threshold": "high"}, ["[namespace default] threshold", "-1 to 1"]),
    ({"threshold": 1.5}, ["threshold", "-1 to 1"]),
    ({"threshold": float("nan")}, ["threshold"]),
    ({"threshold": None}, ["text"]),
    ({"threshold": True}, ["text"]),
    ({"threshold": ["0.5"]}, ["text"]),
    ({"ttl": -1}, ["ttl"]),
    ({"ttl": "1h"}, ["ttl", "seconds"]),
    ({"mode": "fast"}, ["mode", "calibrated"]),
    ({"guards": "numbers:maybe"}, ["guards"]),
    ({"context": "everything"}, ["context"]),
    ({"threshold_min": 0.95}, ["threshold", "at least threshold_min, which is 0.95"]),
    ({"threshold": "0.8", "ttl": "never"}, ["ttl"]),
    ({"context": "a\nb"}, ["context"]),
    ({"opposites": "x" * 5000}, ["opposites", "4096"]),
    ({"socket": "/tmp/x"}, ["socket"]),
])
def test_what_cannot_be_is_refused_and_nothing_changes(daemon, redis, values, parts):
    client = daemon.client()
    before = client.call("config")
    text = client.fails("config", "INVALID", set=values).text
    for part in parts:
        assert part in text, text
    assert client.call("config") == before
    assert not redis.keys("semcache:settings*")


def test_odd_requests_are_refused(daemon):
    client = daemon.client()
    client.fails("config", "INVALID", set=["threshold"])
    client.fails("config", "INVALID", unset={"threshold": 1})
    client.fails("config", "INVALID", unset=[1])
    assert client.fails("config", "INVALID", unset=["nothing"]).keys["field"] == "unset"
    client.fails("config", "INVALID", set={"threshold": 0.8}, unset=["threshold"])
    client.fails("config", "INVALID", namespace="a b", set={"threshold": 0.8})
    client.fails("config", "INVALID", unset=["ttl"] * 1000)
    client.fails("config", "INVALID", certificate="nonsense")
    assert client.call("config", set={}) == {"changed": [], "stored": "redis"}
    assert client.call("config", unset=["threshold"]) == {"changed": [], "stored": "redis"}


def test_a_threshold_below_the_minimum_that_another_namespace_inherits_is_refused(daemon):
    client = daemon.client()
    client.call("config", namespace="kb", set={"threshold": 0.5})
    text = client.fails("config", "INVALID", set={"threshold_min": 0.6}).text
    assert "[namespace kb] threshold" in text and "0.6" in text
    client.call("config", namespace="kb", set={"threshold_min": "none"})
    client.call("config", set={"threshold_min": 0.6})
    client.fails("lookup", "INVALID", prompt=QUESTION, threshold=0.55)
    client.lookup(QUESTION, threshold=0.45, namespace="kb")


def test_who_set_what_is_in_the_log(daemon):
    daemon.client().call("config", namespace="kb", set={"threshold": 0.8}, unset=["ttl"])
    line = daemon.wait_log("settings_changed ")
    assert f"uid={os.getuid()}" in line and "namespace=kb" in line and "threshold = 0.8" in line and "ttl unset" in line


def test_without_redis_it_holds_until_the_end(make_daemon, upstream):
    daemon = make_daemon(upstream=upstream).start()
    client = daemon.client()
    assert client.call("config", set={"threshold": 0.8})["stored"] == "memory"
    assert setting(client, "threshold") == ("0.8", "memory")
    assert client.call("reload") == {"changed": [], "needs_restart": []}
    assert setting(client, "threshold") == ("0.8", "memory")
    daemon.restart()
    assert setting(daemon.client(), "threshold") == ("0.9", "default")


def test_set_while_redis_is_away_it_is_written_when_it_is_back(pair, redis):
    one = pair[0].client()
    redis.freeze()
    for i in range(4):
        one.lookup(f"makes it see that Redis is away {i}", mode="exact")
    pair[0].wait_part("redis", "down")
    assert one.call("config", set={"threshold": 0.8})["stored"] == "queued"
    assert setting(one, "threshold") == ("0.8", "redis")
    redis.thaw()
    becomes(pair[1].client(), "threshold", ("0.8", "redis"))
    assert setting(one, "threshold") == ("0.8", "redis")
    assert redis.hash("semcache:settings:default") == {"threshold": b"0.8"}


def test_a_caller_that_leaves_has_set_it_all_the_same(pair, redis):
    one = pair[0].client()
    redis.freeze()
    one.start("config", set={"threshold": 0.8})
    eventually(lambda: setting(pair[0].client(), "threshold") == ("0.8", "redis"), "it to be set")
    one.close()
    redis.thaw()
    becomes(pair[1].client(), "threshold", ("0.8", "redis"))


def test_two_hosts_that_set_the_same_key_at_once_agree_in_the_end(pair, redis):
    one, two = (daemon.client() for daemon in pair)
    for i in range(20):
        requests = [one.start("config", set={"threshold": 0.5 + i / 100}), two.start("config", set={"threshold": 0.6 + i / 100})]
        for request in requests:
            request.wait()
    kept = redis.hash("semcache:settings:default")["threshold"].decode()
    for client in (one, two):
        becomes(client, "threshold", (kept, "redis"))


def test_two_hosts_set_and_unset_in_turn_and_the_index_of_names_stays_right(pair, redis):
    one, two = (daemon.client() for daemon in pair)
    for i in range(30):
        requests = [one.start("config", namespace="kb", set={"ttl": i}), two.start("config", namespace="kb", unset=["ttl", "mode"])]
        for request in requests:
            request.wait()
    eventually(lambda: setting(one, "ttl", "kb") == setting(two, "ttl", "kb"), "both to agree")
    there = redis.command("EXISTS", "semcache:settings:kb")
    assert redis.command("ZRANGE", "semcache:settings", "0", "-1") == ([b"kb"] if there else [])
    one.call("config", namespace="kb", unset=["ttl"])
    assert not redis.keys("semcache:settings*")


def test_what_does_not_fit_in_redis_is_ignored_and_told(make_daemon, redis, upstream):
    redis.command("HSET", "semcache:settings:kb", "threshold", "2", "ttl", "60", "later_key", "x", "mode", "\x00\xff")
    redis.command("HSET", "semcache:settings:default", "threshold_min", "0.95", "stale_window", "9")
    redis.command("SET", "semcache:settings:other", "no hash")
    redis.command("ZADD", "semcache:settings", "0", "kb", "0", "default", "0", "other", "0", "bad name", "0", "gone")
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    client = daemon.client()
    assert setting(client, "threshold", "kb") == ("0.9", "default")
    assert setting(client, "ttl", "kb") == ("60", "redis")
    assert setting(client, "threshold_min") == ("none", "default")
    assert setting(client, "stale_window") == ("9", "redis")
    assert daemon.counters()["settings_refused"] >= 3
    log = daemon.log
    assert "settings_unknown namespace=kb count=1" in log
    assert "[namespace kb] threshold: must be a similarity from -1 to 1" in log
    assert "at least threshold_min, which is 0.95" in log
    client.call("config", namespace="kb", set={"threshold": 0.7})
    assert setting(client, "threshold", "kb") == ("0.7", "redis")
    daemon.config["namespace default"]["threshold"] = "0.97"
    daemon.write_config()
    client.call("reload")
    assert setting(client, "threshold_min") == ("0.95", "redis")


def test_more_namespaces_than_there_may_be(daemon, redis):
    client = daemon.client()
    for request in [client.start("config", namespace=f"n{i}", set={"ttl": i}) for i in range(255)]:
        request.wait()
    fault = client.fails("config", "INVALID", namespace="one-too-many", set={"ttl": 1})
    assert "256" in fault.text
    client.call("config", namespace="n7", unset=["ttl"])
    client.call("config", namespace="n8", set={"ttl": 9})
    assert len(redis.keys("semcache:settings:*")) == 254
    daemon.restart()
    assert setting(daemon.client(), "ttl", "n254") == ("254", "redis")


def test_a_guard_that_is_switched_off_lets_through_what_it_held_back(pair, upstream):
    """Numbers differ: the guard is in the way until it is off."""
    asked, other = "How long is the warranty of model 300?", "How long is the warranty of model 400?"
    upstream.vectors.near(other, asked, 0.97)
    one, two = (daemon.client() for daemon in pair)
    one.add(asked, "two years")
    eventually(lambda: two.lookup(other)["best_query"] == asked, "the other to have the entry")
    assert two.lookup(other)["reason"] == "guard_numbers"
    one.call("config", set={"guards": "numbers:off, identifiers:off, names:off"})
    becomes(two, "guards", setting(one, "guards"))
    assert two.lookup(other)["tier"] == "semantic"
    one.call("config", unset=["guards"])
    becomes(two, "guards", setting(one, "guards"))
    assert two.lookup(other)["reason"] == "guard_numbers"


def certificate_text(client, namespace="default", **changes):
    """A certificate that holds in the namespace, but for the changes. It serves from a cosine of .8 on."""
    section = client.call("config", namespace=namespace)
    needed = next(iter(section.values()))["certificate"]
    fields = {"score_threshold": 0.8, "margin": 0, "margin_floor": 0, "minimum": 0.8, "weight": 0, "embedder": needed["embedder"],
              "second_embedder": "", "scope_rule": needed["scope_rule"], "bound": 0.02, "confidence": 0.95, "labels": 800,
              "wrong": 9, "created_ms": 1700000000000, "source": "pairs", **changes}
    return "".join(f"{key} {value}\n" for key, value in fields.items())


def certificate(client, namespace="default"):
    """What `config` says of the namespace's certificate."""
    return next(iter(client.call("config", namespace=namespace).values()))["certificate"]


@pytest.fixture
def calibrated(pair):
    """Clients of the two, which have two entries in a scope, in mode calibrated: a lone one is decided about by the threshold."""
    one, two = (daemon.client() for daemon in pair)
    one.add(QUESTION, "yes")
    one.add("Something else altogether in the same scope", "no")
    one.call("config", set={"mode": "calibrated"})
    becomes(two, "mode", ("calibrated", "redis"))
    for client in (one, two):
        eventually(lambda c=client: c.lookup(WORDING)["best_query"] == QUESTION, "it to have the entry")
        assert client.lookup(WORDING)["tier"] == "miss"
    return one, two


def test_a_certificate_holds_on_all_hosts_and_after_restarts(calibrated, pair, redis):
    one, two = calibrated
    assert certificate(one)["why"] == "none was made"
    text = certificate_text(one)
    assert one.call("config", certificate=text) == {"changed": ["[namespace default] certificate"], "stored": "redis"}
    assert one.lookup(WORDING)["tier"] == "semantic"
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "it to hold on the other host")
    shown = certificate(two)
    assert (shown["bound"], shown["confidence"], shown["labels"], shown["wrong"], shown["created_ms"], shown["origin"]) == (
        0.02, 0.95, 800, 9, 1700000000000, "redis")
    [key] = redis.keys("semcache:certificate:*")
    assert key == f"semcache:certificate:default:{shown['embedder']}".encode()
    assert redis.command("GET", key).decode() == text and redis.command("TTL", key) == -1
    pair[1].restart()
    two = pair[1].client()
    assert two.lookup(WORDING)["tier"] == "semantic"
    assert two.call("config", unset=["certificate"])["changed"] == ["[namespace default] certificate"]
    assert two.lookup(WORDING)["tier"] == "miss"
    eventually(lambda: one.lookup(WORDING)["tier"] == "miss", "it to be gone on the other host")
    assert not redis.keys("semcache:certificate:*")


@pytest.mark.parametrize("changes", [{"embedder": "0" * 16}, {"scope_rule": "0" * 16}, {"second_embedder": "1" * 16}])
def test_a_certificate_that_does_not_fit_leaves_the_threshold(calibrated, pair, changes):
    one, _two = calibrated
    one.call("config", certificate=certificate_text(one, **changes))
    assert one.lookup(WORDING)["tier"] == "miss"
    assert certificate(one)["why"] != "none was made"
    for daemon in pair:
        assert "namespace=default" in daemon.wait_log("certificate_misfit ")
        assert daemon.counters()["certificates_misfit"] == 1


def test_a_certificate_of_another_embedder_is_seen_and_does_not_hold(calibrated, pair):
    one, _two = calibrated
    one.call("config", certificate=certificate_text(one))
    pair[0].settle()
    pair[1].stop()
    pair[1].configure("embedder", model="another-embedder").start()
    assert certificate(pair[1].client())["why"] == "embedder"
    assert "certificate_misfit namespace=default" in pair[1].log


def test_a_certificate_that_was_withdrawn_holds_nowhere_and_not_after_a_restart(calibrated, pair):
    one, two = calibrated
    one.call("config", certificate=certificate_text(one))
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "it to hold on the other host")
    one.call("config", certificate=certificate_text(one) + "withdrawn drift\n")
    assert certificate(one)["why"] == "drift"
    eventually(lambda: two.lookup(WORDING)["tier"] == "miss", "it to be withdrawn on the other host")
    pair[1].restart()
    assert certificate(pair[1].client())["why"] == "drift"
    assert "certificate_misfit namespace=default why=\"drift\"" in pair[1].log


def test_another_guard_and_the_certificate_holds_no_longer(calibrated, pair):
    one, two = calibrated
    one.call("config", certificate=certificate_text(one))
    eventually(lambda: two.lookup(WORDING)["tier"] == "semantic", "it to hold on the other host")
    two.call("config", set={"guards": "urls:off"})
    assert two.lookup(WORDING)["tier"] == "miss"
    eventually(lambda: one.lookup(WORDING)["tier"] == "miss", "it to hold no longer on the other host")
    two.call("config", unset=["guards"])
    assert two.lookup(WORDING)["tier"] == "semantic"
    pair[1].wait_log("certificate_in_force ", 2)


def test_a_namespace_has_the_certificate_of_default_unless_it_has_its_own(calibrated, pair):
    one, _two = calibrated
    one.call("config", certificate=certificate_text(one))
    assert certificate(one, "kb")["bound"] == 0.02
    text = certificate_text(one, "kb", bound=0.01)
    assert one.call("config", namespace="kb", certificate=text)["changed"] == ["[namespace kb] certificate"]
    assert certificate(one, "kb")["bound"] == 0.01 and certificate(one)["bound"] == 0.02
    one.call("config", namespace="kb", certificate="")
    assert certificate(one, "kb")["bound"] == 0.02
    one.call("config", namespace="kb", set={"guards": "urls:off"})
    assert certificate(one, "kb")["why"] and certificate(one)["bound"] == 0.02


@pytest.mark.parametrize("text", ["nonsense", "score_threshold 0.9\n", "x" * 3000, "score_threshold nan\n"])
def test_what_is_no_certificate_is_refused(daemon, text):
    client = daemon.client()
    assert client.fails("config", "INVALID", certificate=text).keys["field"] == "certificate"
    client.fails("config", "INVALID", certificate=certificate_text(client), set={"ttl": "never"})
    assert certificate(client)["why"] == "none was made"


def test_a_certificate_in_redis_that_cannot_be_read_does_not_hold(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    embedder = certificate(daemon.client())["embedder"]
    daemon.stop()
    redis.command("SET", f"semcache:certificate:default:{embedder}", "\x00garbage")
    redis.command("HSET", "semcache:settings:default", "certificate", embedder)
    redis.command("ZADD", "semcache:settings", "0", "default")
    assert certificate(daemon.start().client())["why"] == "unreadable"


def test_a_flush_leaves_settings_alone(daemon, redis):
    client = daemon.client()
    client.call("config", set={"threshold": 0.8})
    client.call("flush")
    client.call("flush", namespace="default")
    daemon.restart()
    assert setting(daemon.client(), "threshold") == ("0.8", "redis")


def test_another_redis_in_its_place_has_other_settings(pair, redis):
    one = pair[0].client()
    one.call("config", set={"threshold": 0.8})
    redis.kill()
    for daemon in pair:
        daemon.wait_part("redis", "down")
    redis.start()
    for daemon in pair:
        daemon.wait_part("redis", "up")
        becomes(daemon.client(), "threshold", ("0.9", "default"))


def test_the_client_sets_shows_and_unsets(daemon):
    semcachectl = caller(daemon.socket_path)
    status, out, err = semcachectl("config", "--namespace", "kb", "--set", "threshold=0.8", "--set", "guards=numbers:off, names:shadow")
    assert status == 0, err
    assert "threshold" in out and "redis" in out
    status, out, _err = semcachectl("config", "--namespace", "kb")
    assert status == 0 and "threshold = 0.8    ; redis" in out and "[server]" not in out
    status, out, _err = semcachectl("config", "--namespace", "kb", "--unset", "threshold", "--json")
    assert status == 0 and json.loads(out)["changed"] == ["[namespace kb] threshold"]
    status, _out, err = semcachectl("config", "--set", "threshold=2")
    assert status == 65 and "-1 to 1" in err
    status, _out, err = semcachectl("config", "--set", "threshold")
    assert status == 64 and "KEY=VALUE" in err
