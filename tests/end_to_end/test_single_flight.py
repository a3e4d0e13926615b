"""One question is asked once, however many ask it at once, in however many wordings."""
import itertools

import pytest

from harness.waiting import eventually
from upstream import holds

QUESTION = "Why is the sky blue?"


def wordings(upstream, count, similarity=0.95, of=QUESTION):
    """`count` wordings that are all this near to `of`."""
    words = ("".join(letters) for letters in itertools.product("bdfgk", "aeiou", "lmnrst"))
    return [upstream.vectors.near(f"{word}, why is the sky blue", of, similarity) for word, _ in zip(words, range(count))]


def ask_and_hold(client, upstream, question=QUESTION, **params):
    """A request whose model call is held: (request, chat)."""
    upstream.when(question, holds)
    request = client.stream(question, **params)
    return request, upstream.wait_chat(question)


def test_a_thousand_callers_of_one_question_cost_one_embedding_and_one_chat_call(daemon, upstream):
    upstream.when(None, holds)
    clients = [daemon.client() for _ in range(50)]
    requests = []
    for client in clients:
        requests += client.start_all("get_or_generate", [{"prompt": QUESTION, "stream": True}] * 20)
    chat = upstream.wait_chat()
    eventually(lambda: daemon.stats()["gauges"]["in_flight"] == 1001, "all callers to be on the flight")
    for part, so_far in (("Because ", "Because "), ("of Rayleigh ", "Because of Rayleigh ")):
        chat.token(part)
        for request in requests:
            request.wait_text(so_far)
    chat.token("scattering.").finish()
    results = [request.wait() for request in requests]
    assert {request.text for request in requests} == {"Because of Rayleigh scattering."}
    tiers = [result["tier"] for result in results]
    assert tiers.count("upstream") == 1 and tiers.count("coalesced") == 999
    assert {result["entry"] for result in results} == {results[0]["entry"]}
    assert len(upstream.chats) == 1 and upstream.embedded_texts == [QUESTION]
    counters = daemon.counters()
    assert (counters["api_calls"], counters["embedding_calls"], counters["hits_coalesced"]) == (1, 1, 999)


def test_a_rider_says_whose_answer_it_shares(client, upstream):
    first, chat = ask_and_hold(client, upstream)
    second = client.start_ask(QUESTION)
    client.call("ping")
    chat.token("Rayleigh.").finish()
    assert first.wait()["similarity"] is None
    result = second.wait()
    assert (result["tier"], result["answer"], result["similarity"], result["original_query"]) == \
        ("coalesced", "Rayleigh.", 1.0, QUESTION)
    assert result["saved"]["tokens"] == 18


def test_a_hundred_wordings_at_once_cost_one_chat_call(client, upstream):
    upstream.when(None, holds)
    texts = [QUESTION, *wordings(upstream, 99, similarity=0.96)]
    requests = client.start_all("get_or_generate", [{"prompt": text, "stream": True, "threshold": 0.8} for text in texts])
    chat = upstream.wait_chat()
    eventually(lambda: client.call("stats")["counters"]["flights_joined_by_meaning"] == 99, "the wordings to join")
    chat.token("Rayleigh.")
    for request in requests:
        request.wait_text("Rayleigh.")
    chat.finish()
    results = [request.wait() for request in requests]
    tiers = [result["tier"] for result in results]
    assert tiers.count("upstream") == 1 and tiers.count("coalesced") == 99
    asked = next(text for text, tier in zip(texts, tiers) if tier == "upstream")
    assert {result["original_query"] for result in results if result["tier"] == "coalesced"} == {asked}
    assert all(0.8 <= result["similarity"] <= 1.0 for result in results if result["tier"] == "coalesced")
    assert len(upstream.chats) == 1
    assert {client.ask(text, threshold=0.8)["tier"] for text in texts} == {"memory"}


def test_a_wording_joins_only_a_flight_that_is_near_enough_for_it(client, upstream):
    near, far = wordings(upstream, 1, 0.93)[0], upstream.vectors.near("far from the sky", QUESTION, 0.85)
    first, chat = ask_and_hold(client, upstream)
    upstream.when(None, holds)
    joined = client.start_ask(near)
    strict = client.start_ask(near + "!", threshold=0.99)
    own = client.start_ask(far)
    own_chat = upstream.wait_chat(far)
    strict_chat = upstream.wait_chat(near + "!")
    chat.token("about the sky").finish()
    own_chat.token("about something else").finish()
    strict_chat.token("its own").finish()
    assert first.wait()["tier"] == "upstream"
    result = joined.wait()
    assert (result["tier"], result["answer"], result["original_query"]) == ("coalesced", "about the sky", QUESTION)
    assert result["similarity"] == pytest.approx(0.93, abs=1e-5)
    assert own.wait()["answer"] == "about something else"
    assert strict.wait()["answer"] == "its own"
    assert len(upstream.chats) == 3


def test_of_two_riders_of_one_wording_each_gets_what_its_policy_allows(client, upstream):
    wording = wordings(upstream, 1, 0.93)[0]
    first, chat = ask_and_hold(client, upstream)
    upstream.when(None, holds)
    loose, strict = client.start_all("get_or_generate", [{"prompt": wording}, {"prompt": wording, "threshold": 0.95}])
    own_chat = upstream.wait_chat(wording)
    chat.token("shared").finish()
    own_chat.token("its own").finish()
    assert first.wait()["tier"] == "upstream"
    assert (loose.wait()["tier"], loose.answer) == ("coalesced", "shared")
    assert (strict.wait()["tier"], strict.answer) == ("upstream", "its own")


def test_riders_with_different_thresholds_on_one_flight_are_served_apart(client, upstream):
    wording = wordings(upstream, 1, 0.72)[0]
    client.ask(QUESTION)
    upstream.when(wording, holds)
    policies = [{"threshold": 0.7}, {"threshold": 0.9}, {}, {"threshold": 0.5}, {"mode": "exact"}]
    loose, strict, default, looser, exact = client.start_all(
        "get_or_generate", [{"prompt": wording, "stream": True, **policy} for policy in policies])
    for request in (loose, looser):
        result = request.wait()
        assert (result["tier"], result["original_query"]) == ("semantic", QUESTION)
        assert result["similarity"] == pytest.approx(0.72, abs=1e-5)
    upstream.wait_chat(wording).token("asked anew").finish()
    for request in (strict, default, exact):
        request.wait()
        assert request.text == "asked anew"
    assert len(upstream.chats) == 2 and upstream.embedded_texts.count(wording) == 1


def test_a_late_rider_whose_policy_fits_is_answered_at_once(client, upstream):
    wording = wordings(upstream, 1, 0.8)[0]
    client.ask(QUESTION)
    strict, chat = ask_and_hold(client, upstream, wording)
    chat.token("still ")
    strict.wait_text("still ")
    late = client.ask(wording, threshold=0.75)
    assert (late["tier"], late["original_query"]) == ("semantic", QUESTION)
    missed = client.fails("get_or_generate", "NOT_FOUND", prompt=wording, cache="only")
    assert missed.text
    chat.token("talking").finish()
    assert strict.answer == "still talking"


def test_a_late_rider_reads_from_the_beginning(client, upstream):
    first, chat = ask_and_hold(client, upstream)
    chat.token("one ", "two ")
    first.wait_text("one two ")
    late = client.stream(QUESTION)
    late.wait_text("one two ")
    chat.token("three").finish()
    assert (first.answer, late.answer) == ("one two three", "one two three")


def test_callers_with_and_without_a_stream_ride_together(client, upstream):
    streaming, chat = ask_and_hold(client, upstream)
    whole = client.start_ask(QUESTION)
    chat.token("a", "b")
    streaming.wait_text("ab")
    assert not whole.done
    chat.finish()
    assert whole.wait()["answer"] == "ab" and not whole.chunks
    assert "answer" not in streaming.wait()


def test_scopes_with_tools_are_never_joined_by_meaning(client, upstream):
    upstream.when(None, holds)
    wording = wordings(upstream, 1, 0.99)[0]
    tools = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
    requests = [client.start_ask(text, parameters=tools) for text in (QUESTION, wording)]
    for text in (QUESTION, wording):
        upstream.wait_chat(text).token("own").finish()
    assert [request.wait()["tier"] for request in requests] == ["upstream", "upstream"]


def test_nobody_joins_a_joiner(client, upstream):
    middle = upstream.vectors.near("in the middle", QUESTION, 0.92)
    far = upstream.vectors.near("at the other end", "in the middle", 0.92)
    first, chat = ask_and_hold(client, upstream)
    upstream.when(None, holds)
    joined = client.start_ask(middle)
    eventually(lambda: client.call("stats")["counters"]["flights_joined_by_meaning"] == 1, "the middle one to join")
    own = client.start_ask(far)
    upstream.wait_chat(far).token("its own").finish()
    chat.token("shared").finish()
    assert (first.answer, joined.answer, own.answer) == ("shared", "shared", "its own")


def test_a_joined_wording_gets_no_alias_if_the_answer_was_not_stored(client, upstream, redis):
    wording = wordings(upstream, 1)[0]
    _first, chat = ask_and_hold(client, upstream)
    joined = client.start_ask(wording)
    eventually(lambda: client.call("stats")["counters"]["flights_joined_by_meaning"] == 1, "it to join")
    chat.token("cut off").finish("length")
    assert joined.wait()["finish_reason"] == "length"
    assert client.lookup(wording)["tier"] == "miss"
    assert not redis.keys("semcache:alias:*") and not redis.keys("semcache:entry:*")


# ---- leaving ----

def test_the_last_one_leaving_before_the_chat_call_cancels_it(daemon, client, upstream):
    upstream.when_embedding(None, holds)
    first, second = client.start_ask(QUESTION), daemon.client().start_ask(QUESTION)
    embedding = upstream.wait_embedding()
    second.client.call("ping")  # by its answer, the second rides the flight
    first.cancel()
    first.fails("CANCELLED")
    second.client.close()
    embedding.wait_closed_by_client()
    daemon.wait_idle()
    assert not upstream.chats
    assert daemon.counters()["flights_cancelled"] == 1


def test_the_last_one_leaving_in_the_chat_call_leaves_it_to_the_cache(daemon, upstream):
    leaving = daemon.client()
    _request, chat = ask_and_hold(leaving, upstream)
    leaving.close()
    eventually(lambda: daemon.counters()["flights_detached"] == 1, "the flight to be detached")
    chat.token("paid for").finish()
    client = daemon.client()
    eventually(lambda: client.lookup(QUESTION)["tier"] == "memory", "the answer to be kept")
    assert client.ask(QUESTION)["answer"] == "paid for"


def test_other_questions_do_not_disturb_a_detached_flight(daemon, client, upstream):
    leaving = daemon.client()
    _request, chat = ask_and_hold(leaving, upstream)
    leaving.close()
    eventually(lambda: daemon.counters()["flights_detached"] == 1, "the flight to be detached")
    assert client.ask("Another question of the same scope")["tier"] == "upstream"
    assert client.ask("And yet another one of it")["tier"] == "upstream"
    assert chat.is_open
    chat.token("paid for").finish()
    eventually(lambda: client.lookup(QUESTION)["tier"] == "memory", "the answer to be kept")


def test_a_detached_flight_can_be_joined_again(daemon, client, upstream):
    first, chat = ask_and_hold(client, upstream)
    chat.token("half ")
    first.wait_text("half ")
    first.cancel()
    first.fails("CANCELLED")
    again = client.stream(QUESTION)
    again.wait_text("half ")
    chat.token("whole").finish()
    assert again.answer == "half whole"
    assert len(upstream.chats) == 1


@pytest.mark.parametrize("params", [{"cache": "no_store"}, {"ttl": 0}, {"parameters": {"logprobs": True}},
                                    {"parameters": {"n": 2}}])
def test_a_chat_call_that_nobody_may_keep_ends_with_its_last_rider(client, upstream, params):
    request, chat = ask_and_hold(client, upstream, **params)
    request.cancel()
    request.fails("CANCELLED")
    chat.wait_closed_by_client()


def test_no_more_than_max_detached_calls_are_finished_for_the_cache(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"max_detached": "1"}).start()
    client = daemon.client()
    first, first_chat = ask_and_hold(client, upstream, "the first of two")
    second, second_chat = ask_and_hold(client, upstream, "the second of two")
    for request in (first, second):
        request.cancel()
        request.fails("CANCELLED")
    second_chat.wait_closed_by_client()
    assert first_chat.is_open
    first_chat.token("kept").finish()
    eventually(lambda: client.lookup("the first of two")["tier"] == "memory", "the first to be kept")


def test_one_rider_leaving_does_not_disturb_the_others(client, upstream):
    stays, chat = ask_and_hold(client, upstream)
    leaves = client.stream(QUESTION)
    chat.token("one ")
    for request in (stays, leaves):
        request.wait_text("one ")
    leaves.cancel()
    leaves.fails("CANCELLED")
    chat.token("two").finish()
    assert stays.answer == "one two" and leaves.text == "one "


# ---- what changes while it is in the air ----

def test_an_answer_invalidated_while_it_was_in_the_air_is_not_stored(client, upstream, redis):
    request, chat = ask_and_hold(client, upstream)
    chat.token("old ")
    request.wait_text("old ")
    client.call("invalidate", question=QUESTION)
    chat.token("news").finish()
    result = request.wait()
    assert request.text == "old news" and result["entry"] is None
    assert client.lookup(QUESTION)["tier"] == "miss"
    assert not redis.keys("semcache:entry:*")


def test_a_question_invalidated_in_the_air_is_asked_anew_by_the_next(client, upstream):
    first, chat = ask_and_hold(client, upstream)
    client.call("invalidate", question=QUESTION)
    second = client.stream(QUESTION)
    other = upstream.wait_chat(QUESTION, 2)
    chat.token("before").finish()
    other.token("after").finish()
    assert (first.answer, second.answer) == ("before", "after")
    assert client.ask(QUESTION)["answer"] == "after"


def test_what_was_added_while_a_call_was_in_the_air_stays(client, upstream):
    request, chat = ask_and_hold(client, upstream)
    client.add(QUESTION, "the operator's answer")
    chat.token("the model's answer").finish()
    assert request.answer == "the model's answer"
    assert client.ask(QUESTION)["answer"] == "the operator's answer"


def test_a_flush_in_the_air_keeps_the_answer_out(client, upstream, redis):
    request, chat = ask_and_hold(client, upstream)
    client.call("flush")
    chat.token("dead on arrival").finish()
    request.wait()
    assert client.lookup(QUESTION)["tier"] == "miss"
    assert not redis.keys("semcache:entry:*")


def test_a_refresh_rides_a_call_that_is_in_the_air_already(client, upstream):
    first, chat = ask_and_hold(client, upstream)
    second = client.stream(QUESTION, cache="refresh")
    client.call("ping")
    chat.token("fresh enough").finish()
    assert (first.answer, second.answer) == ("fresh enough", "fresh enough")
    assert len(upstream.chats) == 1


def test_not_stored_only_if_every_rider_says_no_store(client, upstream):
    first, chat = ask_and_hold(client, upstream, cache="no_store")
    second = client.stream(QUESTION)
    client.call("ping")
    chat.token("kept for the second").finish()
    assert first.answer == second.answer
    assert client.lookup(QUESTION)["tier"] == "memory"


def test_the_openers_ttl_is_that_of_the_shared_answer(client, upstream):
    first, chat = ask_and_hold(client, upstream, ttl=100)
    second = client.start_ask(QUESTION, ttl=5000)
    client.call("ping")
    chat.token("for a while").finish()
    assert first.wait()["ttl"] <= 100 and second.wait()["ttl"] <= 100
