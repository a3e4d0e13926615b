"""What must be equal before meaning is compared: namespace, model, parameters, and the context the caller names."""
import pytest

QUESTION = "How do I reset my password?"
WORDING = "What is the way to change a forgotten password?"


def chat(question, system=None):
    """Messages with one question."""
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": question}]


@pytest.fixture(autouse=True)
def near(upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.97)


def ask(client, question, **params):
    return client.call("get_or_generate", messages=chat(question, params.pop("system", None)), **params)


@pytest.mark.parametrize("other", [
    {"model": "other-model"}, {"namespace": "elsewhere"}, {"parameters": {"temperature": 0.5}},
    {"parameters": {"response_format": {"type": "json_object"}}}, {"system": "You are terse."},
])
def test_what_changes_the_answer_keeps_questions_apart(client, upstream, other):
    assert ask(client, QUESTION)["tier"] == "upstream"
    assert ask(client, QUESTION, **other)["tier"] == "upstream"
    miss = ask(client, WORDING, **{**other, **({"system": "You are kind."} if "system" in other else {"namespace": "third"})})
    assert (miss["tier"], miss["reason"]) == ("upstream", "no_candidate")
    assert ask(client, WORDING, **other)["tier"] == "semantic"
    assert ask(client, WORDING)["tier"] == "semantic"
    assert len(upstream.chats) == 3


@pytest.mark.parametrize("same", [
    {"parameters": {}}, {"parameters": {"user": "somebody"}}, {"parameters": {"metadata": {"trace": "1"}}},
    {"model": "test-model"}, {"namespace": "default"}, {"context": "all"},
])
def test_what_does_not_change_the_answer_keeps_them_together(client, upstream, same):
    ask(client, QUESTION)
    assert ask(client, QUESTION, **same)["tier"] == "memory"
    assert ask(client, WORDING, **same)["tier"] == "semantic"


def test_prompt_and_one_user_message_are_the_same_question(client):
    client.ask(QUESTION)
    assert ask(client, QUESTION)["tier"] == "memory"
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]
    assert client.call("get_or_generate", messages=parts)["tier"] == "memory"


@pytest.mark.parametrize("first, second", [
    ({"temperature": 1.0, "top_p": 0.5}, {"top_p": 0.5, "temperature": 1}),
    ({"seed": 9007199254740993}, {"seed": 9007199254740993}),
])
def test_the_order_of_keys_and_the_type_of_a_whole_number_do_not_matter(client, first, second):
    client.ask(QUESTION, parameters=first)
    assert client.ask(QUESTION, parameters=second)["tier"] == "memory"


@pytest.mark.parametrize("first, second", [
    ({"seed": 9007199254740993}, {"seed": 9007199254740992}), ({"temperature": None}, {}), ({"stop": []}, {}),
    ({"stop": "x"}, {"stop": ["x"]}), ({"temperature": 0.1}, {"temperature": 0.10000000000000002}),
])
def test_values_that_differ_are_different_questions(client, first, second):
    client.ask(QUESTION, parameters=first)
    assert client.ask(QUESTION, parameters=second)["tier"] == "upstream"


@pytest.mark.parametrize("other", ["how do I reset my password?", "How do I reset my password? ", "How do I reset my password"])
def test_texts_are_not_trimmed_or_folded(client, other):
    client.ask(QUESTION)
    assert client.ask(other)["tier"] == "upstream"


def test_an_unknown_model_is_invalid(client, upstream):
    assert client.fails("get_or_generate", "INVALID", prompt=QUESTION, model="no-such-model").keys["field"] == "model"
    assert not upstream.chats


def test_the_conversation_before_the_question_must_be_equal(client, upstream):
    def talk(before, question):
        return client.call("get_or_generate", messages=[*chat(before), {"role": "assistant", "content": "Yes."}, *chat(question)])
    talk("Is this the help desk?", QUESTION)
    assert talk("Is this the help desk?", WORDING)["tier"] == "semantic"
    assert talk("Is this the sales desk?", WORDING)["tier"] == "upstream"


@pytest.mark.parametrize("messages, parameters", [
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}], {}),
    ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], {}),
    ([{"role": "user", "content": "with tools"}], {"tools": [{"type": "function", "function": {"name": "f"}}]}),
])
def test_what_is_no_plain_question_is_matched_exactly_only(client, upstream, messages, parameters):
    first = client.call("get_or_generate", messages=messages, parameters=parameters)
    assert (first["tier"], first["reason"]) == ("upstream", "exact_only")
    assert client.call("get_or_generate", messages=messages, parameters=parameters)["tier"] == "memory"
    assert not upstream.embeddings


# ---- prompts built from retrieved text ----

def retrieved(i):
    """3 KB of text that is another one for each prompt."""
    return "".join(f"Document {i}, paragraph {k}: {i * 7919 + k * 104729}. " for k in range(70))[:3000]


def bare_question(i):
    """One of 50 families, in one of its wordings."""
    return f"{('first', 'other', 'third', 'last')[i // 50]} wording of family {'abcde'[i % 5] * (1 + i % 50 // 5)}"


def prompts(count):
    """(prompt with context, bare question): each question but the first few is a wording of an earlier one, or a new one."""
    for i in range(count):
        question = bare_question(i)
        yield f"Answer from this:\n{retrieved(i)}\n\nQuestion: {question}", question


def relate(upstream, count):
    """Wordings of one family are near each other, some of them near enough."""
    for i in range(50, count):
        similarity = (0.96, 0.93, 0.85)[i % 3]
        upstream.vectors.near(bare_question(i), bare_question(i % 50), similarity)


def decisions(client, made):
    """(tier, rounded similarity, original question) of each."""
    results = []
    for params in made:
        result = client.call("get_or_generate", **params)
        similarity = result["similarity"] if result["similarity"] is not None else result["best_similarity"]
        results.append((result["tier"], round(similarity, 4), result["original_query"]))
    return results


@pytest.mark.parametrize("where", ["same message", "system message"])
def test_200_prompts_with_changing_context_have_no_semantic_hit_by_default(client, upstream, where):
    relate(upstream, 200)
    for i, (prompt, question) in enumerate(prompts(200)):
        if where == "same message":
            params = {"messages": chat(prompt), "question": question}
        else:
            params = {"messages": chat(question, system=retrieved(i))}
        assert client.call("get_or_generate", **params)["tier"] == "upstream"
    assert client.call("stats")["counters"]["hits_semantic"] == 0


def test_200_prompts_with_question_and_label_decide_as_the_bare_questions(client, upstream):
    relate(upstream, 200)
    bare = decisions(client, ({"messages": chat(question), "namespace": "bare"} for _prompt, question in prompts(200)))
    built = decisions(client, ({"messages": chat(prompt), "question": question, "context": "kb-2026-11", "namespace": "built"}
                               for prompt, question in prompts(200)))
    assert built == bare
    assert {tier for tier, _similarity, _question in bare} == {"upstream", "semantic"}


def test_a_new_label_never_meets_an_old_one(client, upstream):
    def built(question, label):
        return client.call("get_or_generate", messages=chat(f"{retrieved(1)}{question}"), question=question, context=label,
                           cache="default" if question == QUESTION else "no_store")
    assert built(QUESTION, "kb-2026-10")["tier"] == "upstream"
    assert built(WORDING, "kb-2026-10")["tier"] == "semantic"
    assert built(WORDING, "kb-2026-11")["tier"] == "upstream"
    assert built(WORDING, "system")["tier"] == "upstream"
    assert client.call("lookup", messages=chat(WORDING))["tier"] == "miss"


def test_with_a_label_model_and_parameters_still_count(client):
    def built(question, **params):
        return client.call("get_or_generate", messages=chat(f"{retrieved(2)}{question}"), question=question, context="kb",
                           **params)
    built(QUESTION)
    assert built(WORDING, model="other-model")["tier"] == "upstream"
    assert built(WORDING, parameters={"temperature": 0.3})["tier"] == "upstream"
    assert built(WORDING)["tier"] == "semantic"


def test_context_system_ignores_the_rest_of_the_conversation(client):
    def talk(before, question, system):
        messages = [*chat(before, system), {"role": "assistant", "content": "Yes."}, *chat(question)]
        return client.call("get_or_generate", messages=messages, question=question, context="system")
    talk("one thing", QUESTION, "Be brief.")
    assert talk("another thing", WORDING, "Be brief.")["tier"] == "semantic"
    assert talk("another thing", WORDING, "Be long.")["tier"] == "upstream"


def test_the_question_is_cut_out_once_of_the_last_message(client):
    def built(around, question):
        return client.call("get_or_generate", messages=chat(around.replace("@", question)), question=question)
    built("Context first. @ Be exact.", QUESTION)
    assert built("Context first. @ Be exact.", WORDING)["tier"] == "semantic"
    assert built("Context second. @ Be exact.", WORDING)["tier"] == "upstream"


def test_the_identity_stays_whole_with_a_label(client, upstream):
    def built(i):
        return client.call("get_or_generate", messages=chat(f"{retrieved(i)}{QUESTION}"), question=QUESTION, context="kb",
                           mode="exact")
    assert built(1)["tier"] == "upstream"
    assert built(2)["tier"] == "upstream"
    assert built(1)["tier"] == "memory"


@pytest.mark.parametrize("allowed, context, fine", [
    ("all", None, True), ("all", "all", True), ("all", "system", False), ("all", "kb", False),
    ("system, label", "system", True), ("system, label", "kb", True), ("any", "kb", True),
])
def test_a_namespace_says_which_contexts_its_callers_may_name(make_daemon, redis, upstream, allowed, context, fine):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__n={"context": allowed}).start()
    client = daemon.client()
    params = {"prompt": QUESTION, "namespace": "n", "question": QUESTION, "context": context}
    if fine:
        assert client.call("get_or_generate", **params)["tier"] == "upstream"
    else:
        assert client.fails("get_or_generate", "INVALID", **params).keys["field"] == "context"
