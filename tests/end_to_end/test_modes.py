"""What a namespace's mode lets be served: shadow and calibrated, beside exact and threshold (test_policy.py)."""
import pytest

from harness.waiting import eventually

FIRST, NEXT, ASKED = "Why is the sky blue?", "Why is the sea blue?", "What makes the sky look blue?"

CALIBRATED = {"mode": "calibrated", "score_threshold": "0.95", "margin": "0.5", "margin_floor": "0.70", "minimum": "0.75"}


def test_shadow_serves_nothing_by_meaning_and_says_so(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"mode": "shadow"}).start()
    client = daemon.client()
    upstream.vectors.near(ASKED, FIRST, 0.97)
    client.ask(FIRST)
    miss = client.ask(ASKED)
    assert (miss["tier"], miss["reason"], miss["best_query"]) == ("upstream", "shadow", FIRST)
    assert client.ask(FIRST)["tier"] == client.ask(ASKED)["tier"] == "memory"
    client = daemon.restart().client()
    assert client.ask(FIRST)["tier"] == client.ask(ASKED)["tier"] == "exact"
    assert len(upstream.chats) == 2
    assert daemon.counters()["hits_semantic"] == 0


def test_an_alias_of_before_is_not_served_in_shadow(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    client = daemon.client()
    upstream.vectors.near(ASKED, FIRST, 0.97)
    client.ask(FIRST)
    assert client.ask(ASKED)["tier"] == "semantic"
    daemon.configure("namespace default", mode="shadow")
    daemon.write_config()
    client.call("reload")
    assert client.ask(ASKED)["tier"] == "upstream"


@pytest.mark.parametrize("first, second, tier", [
    (0.90, 0.60, "semantic"),  # 0.90 + 0.5 * (0.90 - 0.70) = 1.00
    (0.90, 0.85, "upstream"),  # 0.90 + 0.5 * (0.90 - 0.85) = 0.925
    (0.86, 0.60, "upstream"),  # 0.86 + 0.5 * (0.86 - 0.70) = 0.94
    (0.97, 0.96, "semantic"),
])
def test_calibrated_counts_the_margin_over_the_next_nearest(make_daemon, redis, upstream, first, second, tier):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default=CALIBRATED).start()
    client = daemon.client()
    upstream.vectors.near(FIRST, ASKED, first)
    upstream.vectors.near(NEXT, ASKED, second)
    for question in (FIRST, NEXT):
        assert client.ask(question, cache="refresh")["tier"] == "upstream"
    assert client.ask(ASKED)["tier"] == tier


@pytest.mark.parametrize("similarity, tier", [(0.89, "upstream"), (0.91, "semantic")])
def test_a_lone_entry_gains_nothing_from_the_margin(make_daemon, redis, upstream, similarity, tier):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default=CALIBRATED).start()
    client = daemon.client()
    upstream.vectors.near(ASKED, FIRST, similarity)
    client.ask(FIRST)
    assert client.ask(ASKED)["tier"] == tier


def test_an_entry_whose_only_neighbour_has_expired_is_a_lone_one(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={
        "mode": "calibrated", "score_threshold": "0.95", "margin": "0.5", "margin_floor": "0.5", "minimum": "0.7",
        "stale_window": "600"}).start()
    client = daemon.client()
    asked = upstream.vectors.near("What colour has the sky?", "Why is the sky blue?", 0.85)
    client.ask("How do I bake bread?", ttl=2)
    client.ask("Why is the sky blue?")
    daemon.settle()
    assert client.lookup(asked)["tier"] == "semantic"
    eventually(lambda: client.lookup("How do I bake bread?")["tier"] == "miss", "the neighbour to expire")
    missed = client.lookup(asked)
    assert (missed["tier"], missed["reason"]) == ("miss", "below_threshold")


def test_a_hit_on_a_lone_entry_leaves_no_alias(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default=CALIBRATED).start()
    client = daemon.client()
    upstream.vectors.near(ASKED, FIRST, 0.91)
    client.ask(FIRST)
    assert client.ask(ASKED)["tier"] == client.ask(ASKED)["tier"] == "semantic"
    assert daemon.counters()["aliases_stored"] == 0
    upstream.vectors.near(NEXT, ASKED, 0.905)
    client.ask(NEXT, cache="refresh")
    assert client.ask(ASKED)["tier"] == "upstream"


def test_an_alias_is_served_by_its_score(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default=CALIBRATED).start()
    client = daemon.client()
    upstream.vectors.near(FIRST, ASKED, 0.88)
    upstream.vectors.near(NEXT, ASKED, 0.30)
    for question in (FIRST, NEXT):
        client.ask(question, cache="refresh")
    assert client.ask(ASKED)["tier"] == "semantic"
    assert client.ask(ASKED)["tier"] == "memory"
    # A caller that names a threshold means the cosine.
    assert client.ask(ASKED, threshold=0.9)["tier"] == "upstream"


def test_without_parameters_calibrated_is_threshold_and_says_so(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"mode": "calibrated"}).start()
    daemon.wait_log(r"not_calibrated namespace=default")
    client = daemon.client()
    upstream.vectors.near(ASKED, FIRST, 0.91)
    client.ask(FIRST)
    assert client.ask(ASKED)["tier"] == "semantic"


def test_the_mode_can_be_changed_while_the_daemon_runs(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    client = daemon.client()
    upstream.vectors.near(FIRST, ASKED, 0.88)
    upstream.vectors.near(NEXT, ASKED, 0.30)
    for question in (FIRST, NEXT):
        client.ask(question, cache="refresh")
    assert client.call("lookup", prompt=ASKED)["reason"] == "below_threshold"
    daemon.configure("namespace default", **CALIBRATED)
    daemon.write_config()
    assert "[namespace default] mode" in client.call("reload")["changed"]
    assert client.call("lookup", prompt=ASKED)["tier"] == "semantic"


@pytest.mark.parametrize("key, value, says", [
    ("mode", "semantic", "exact, shadow, threshold or calibrated"), ("margin", "-1", "none, or a number from 0 to 4"),
    ("score_threshold", "nan", "none, or a number from 0 to 2"), ("margin_floor", "1.5", "none, or a similarity from -1 to 1"),
    ("second_opinion", "on", "[second_opinion] has no url"),
    ("minimum", "x", "none, or a similarity from -1 to 1"), ("opposites", "a/b/c", "WORD/WORD"),
])
def test_a_wrong_value_is_named(make_daemon, redis, upstream, key, value, says):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={key: value})
    daemon.spawn()
    assert daemon.wait_exit() == 78
    assert key in daemon.log and says in daemon.log
    daemon.process = None
