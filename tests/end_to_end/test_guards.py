"""Guards: two questions that are near in meaning but plainly ask for different things never share an answer."""
import pytest

from harness.waiting import eventually
from upstream import holds

ASKED = {
    "numbers": ("How many mg of ibuprofen may an adult take, 200 mg at once?", "How many mg of ibuprofen may an adult take, 800 mg at once?"),
    "negation": ("Which mushrooms are edible?", "Which mushrooms are not edible?"),
    "opposites": ("How do I enable swap on this host?", "How do I disable swap on this host?"),
    "quotes": ('What does the message "disk full" mean?', 'What does the message "link down" mean?'),
    "code": ("What does `git pull` do?", "What does `git push` do?"),
    "urls": ("Is https://example.org/status up?", "Is https://example.com/status up?"),
    "paths": ("What is in /etc/fstab?", "What is in /etc/crypttab?"),
    "emails": ("Who answers mail to help@example.org?", "Who answers mail to sales@example.org?"),
    "identifiers": ("What does max_wal_size do?", "What does min_wal_size do?"),
    "roles": ("How long is the train from Lyon to Milan?", "How long is the train from Milan to Lyon?"),
    "names": ("What is the capital of Slovakia?", "What is the capital of Slovenia?"),
}


def guards_of(daemon, namespace="default"):
    """{guard: (vetoed, shadow)} of a namespace."""
    guards = daemon.stats()["namespaces"].get(namespace, {}).get("guards", {})
    return {name: (count["vetoed"], count["shadow"]) for name, count in guards.items()}


def only(guard, state="on"):
    return {"namespace__default": {"guards": f"all:off, {guard}:{state}"}}


@pytest.mark.parametrize("guard", ASKED)
def test_what_a_guard_says_differs_is_asked_of_the_model(make_daemon, redis, upstream, guard):
    first, second = ASKED[guard]
    upstream.vectors.near(second, first, 0.99)
    daemon = make_daemon(redis=redis, upstream=upstream, **only(guard)).start()
    client = daemon.client()
    assert client.ask(first)["tier"] == "upstream"
    miss = client.ask(second)
    assert (miss["tier"], miss["reason"], miss["best_query"]) == ("upstream", f"guard_{guard}", first)
    assert round(miss["best_similarity"], 2) == 0.99
    assert guards_of(daemon) == {guard: (1, 0)}
    assert len(upstream.chats) == 2


@pytest.mark.parametrize("guard", ASKED)
def test_a_guard_that_is_off_says_nothing(make_daemon, redis, upstream, guard):
    first, second = ASKED[guard]
    upstream.vectors.near(second, first, 0.99)
    daemon = make_daemon(redis=redis, upstream=upstream, **only("all", "off")).start()
    client = daemon.client()
    client.ask(first)
    assert client.ask(second)["tier"] == "semantic"
    assert guards_of(daemon) == {}


@pytest.mark.parametrize("guard", ASKED)
def test_a_guard_in_shadow_only_counts(make_daemon, redis, upstream, guard):
    first, second = ASKED[guard]
    upstream.vectors.near(second, first, 0.99)
    daemon = make_daemon(redis=redis, upstream=upstream, **only(guard, "shadow")).start()
    client = daemon.client()
    client.ask(first)
    assert client.ask(second)["tier"] == "semantic"
    assert guards_of(daemon) == {guard: (0, 1)}


def test_a_vetoed_nearest_does_not_hide_a_good_second(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, **only("numbers")).start()
    client = daemon.client()
    asked, trap, good = "Boil 2 eggs: how long?", "Boil 6 eggs: how long?", "For how long should 2 eggs be boiled?"
    upstream.vectors.near(trap, asked, 0.99)
    upstream.vectors.near(good, asked, 0.93)
    client.ask(trap)
    client.ask(good)
    hit = client.ask(asked)
    assert (hit["tier"], hit["original_query"]) == ("semantic", good)


def test_guards_are_each_namespaces_own(make_daemon, redis, upstream):
    first, second = ASKED["numbers"]
    upstream.vectors.near(second, first, 0.99)
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__loose={"guards": "all:off"}).start()
    client = daemon.client()
    for namespace, tier in (("loose", "semantic"), ("default", "upstream")):
        client.ask(first, namespace=namespace)
        assert client.ask(second, namespace=namespace)["tier"] == tier


def test_another_language_is_no_veto(daemon, upstream):
    client = daemon.client()
    first, second = "How much is 5 mg of sodium in a daily diet of 2000 calories?", "每日2000卡路里的饮食中5毫克钠是多少？"
    upstream.vectors.near(second, first, 0.96)
    client.ask(first)
    assert client.ask(second)["tier"] == "semantic"


def test_operators_add_opposites_of_their_own(make_daemon, redis, upstream):
    first, second = "Where is the port side light?", "Where is the starboard side light?"
    upstream.vectors.near(second, first, 0.99)
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"opposites": "port/starboard, 左舷/右舷"}).start()
    client = daemon.client()
    client.ask(first)
    assert client.ask(second)["reason"] == "guard_opposites"


def test_a_guard_can_be_switched_while_the_daemon_runs_and_then_binds_aliases_too(make_daemon, redis, upstream):
    first, second = ASKED["numbers"]
    upstream.vectors.near(second, first, 0.99)
    daemon = make_daemon(redis=redis, upstream=upstream, **only("numbers", "off")).start()
    client = daemon.client()
    client.ask(first)
    assert client.ask(second)["tier"] == "semantic"
    assert client.ask(second)["tier"] == "memory"  # by the alias that the hit has left
    daemon.configure("namespace default", guards="all:off, numbers:on")
    daemon.write_config()
    assert client.call("reload") == {"changed": ["[namespace default] guards"], "needs_restart": []}
    assert client.ask(second)["tier"] == "upstream"
    client = daemon.restart().client()
    assert client.ask(second)["tier"] == "exact"  # its own answer now
    assert client.ask(first)["tier"] == "exact"


@pytest.mark.parametrize("namespace", ["default", "other"])
def test_who_joins_a_question_after_a_guard_was_switched_on_is_under_it(make_daemon, redis, upstream, namespace):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"guards": "numbers:off"}).start()
    client = daemon.client()
    stored, asked = "Take 20 mg of it today", "Take 200 mg of it today"
    upstream.vectors.near(asked, stored, 0.98)
    client.ask(stored, namespace=namespace)
    daemon.settle()
    eventually(lambda: client.lookup(asked, namespace=namespace).get("age", 0) >= 1, "the entry to be a second old")
    upstream.when(asked, holds)
    first = client.start_ask(asked, namespace=namespace, max_age=0)
    chat = upstream.wait_chat(asked)
    client.call("config", namespace=namespace, set={"guards": "numbers:on"})
    late = client.start_ask(asked, namespace=namespace)
    client.lookup("What else takes a few turns of the loop?")
    chat.token("fresh").finish()
    assert (first.wait()["tier"], late.wait()["tier"]) == ("upstream", "coalesced")


def test_guards_hold_for_questions_in_the_air(make_daemon, redis, upstream):
    first, second = ASKED["numbers"]
    upstream.vectors.near(second, first, 0.99)
    upstream.when(first, lambda chat: None)
    daemon = make_daemon(redis=redis, upstream=upstream, **only("numbers")).start()
    client = daemon.client()
    held = client.start("get_or_generate", prompt=first)
    chat = upstream.wait_chat(first)
    assert client.ask(second)["tier"] == "upstream"
    chat.begin()
    chat.token("late")
    chat.finish()
    assert held.wait()["answer"] == "late"


@pytest.mark.parametrize("value, says", [
    ("numbers", "NAME:on"), ("numbers:maybe", "NAME:on"), ("nosuch:on", "names: all, numbers"), ("numbers:on negation:on", "NAME:on"),
])
def test_a_wrong_guard_in_the_configuration_is_named(make_daemon, redis, upstream, value, says):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"guards": value})
    daemon.spawn()
    assert daemon.wait_exit() == 78
    assert "guards" in daemon.log and says in daemon.log
    daemon.process = None
