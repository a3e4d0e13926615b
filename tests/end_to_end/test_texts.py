"""Texts come back exactly as they were given, or there is a clear error: NUL, a megabyte, invalid UTF-8, emoji, big integers."""
import json

import pytest

TEXTS = {
    "emoji": "🙂👩‍👩‍👧‍👦🇩🇪 zero width\u200bspace",
    "controls": "tab\tnewline\ncarriage\rbell\x07escape\x1b[31mdel\x7f",
    "right to left": "שלום مرحبا \u202eabc",
    "Chinese": "请介绍一下这个项目，谢谢！",
    "combining": "e\u0301 is not \u00e9",
    "astral": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff \ufffe \ufffd",
    "JSON": '{"a": "b\\u0000\\n", \'c\': [1, 2]}',
    "spaces": "  leading and trailing  \n",
    "event stream": "data: [DONE]\n\ndata: x\r\n\r\n",
    "Redis": "*3\r\n$3\r\nSET\r\n",
    "percent": "%s %n %d %%",
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("restart", [False, True])
def test_question_and_answer_come_back_exactly(daemon, upstream, name, restart):
    text = TEXTS[name]
    upstream.when(None, lambda chat: (chat.token(text), chat.finish()))
    client = daemon.client()
    first = client.ask(text)
    assert first["answer"] == text
    assert upstream.chats[0].text == text and upstream.embedded_texts == [text]
    if restart:
        daemon.restart()
        client = daemon.client()
    again = client.ask(text)
    assert again["tier"] == ("exact" if restart else "memory")
    assert (again["answer"], again["original_query"]) == (text, text)
    daemon.settle()
    shown = client.call("show", entry=first["entry"])
    assert (shown["question"], shown["answer"]) == (text, text)
    streamed = client.stream(text)
    streamed.wait()
    assert streamed.text == text


def test_a_megabyte_of_each(daemon, upstream):
    question = "".join(f"Frage {i} ü🙂 " for i in range(80_000))[:1_000_000]
    answer = "".join(f"Antwort {i} ß🙂 " for i in range(80_000))[:1_000_000]
    upstream.when(None, lambda chat: (chat.token(*[answer[i:i + 10_000] for i in range(0, len(answer), 10_000)]), chat.finish()))
    client = daemon.client()
    first = client.ask(question)
    assert first["answer"] == answer and first["reason"] == "exact_only"
    assert upstream.chats[0].text == question
    daemon.restart()
    again = daemon.client().ask(question)
    assert (again["tier"], again["answer"], again["original_query"]) == ("exact", answer, question)


@pytest.mark.parametrize("params, field", [
    ({"prompt": "a\0b"}, "prompt"), ({"prompt": "x", "namespace": "a\0b"}, "namespace"),
    ({"prompt": "x", "model": "a\0b"}, "model"), ({"prompt": "x", "question": "a\0b"}, "question"),
    ({"prompt": "x", "context": "a\0b"}, "context"), ({"prompt": "x", "parameters": {"stop": "a\0b"}}, "parameters"),
    ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages"),
    ({"messages": [{"role": "us\0er", "content": "ab"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a\0b"}]}]}, "messages"),
])
def test_a_nul_is_a_clear_error(client, upstream, params, field):
    error = client.fails("get_or_generate", "INVALID", **params)
    assert error.keys["field"].split(".")[0].split("[")[0] == field and "NUL" in error.text
    assert not upstream.chats


@pytest.mark.parametrize("bad", [b"\xff", b"half \xc3", b"\xed\xa0\x80 surrogate", b"\xc0\xaf overlong", b"\xf4\x90\x80\x80"])
@pytest.mark.parametrize("where", ["prompt", "messages", "parameters", "question"])
def test_invalid_utf8_is_a_clear_error(client, upstream, bad, where):
    params = {"prompt": {"prompt": bad}, "messages": {"messages": [{"role": "user", "content": bad}]},
              "parameters": {"prompt": "x", "parameters": {"stop": bad}}, "question": {"prompt": "x", "question": bad}}[where]
    error = client.fails("get_or_generate", "INVALID", **params)
    assert error.keys["field"].split(".")[0].split("[")[0] == where and "UTF-8" in error.text
    assert not upstream.chats


def test_a_nul_in_an_added_answer_is_a_clear_error(client):
    assert client.fails("add", "INVALID", prompt="x", answer="a\0b").keys["field"] == "answer"


@pytest.mark.parametrize("value", [9007199254740993, 2 ** 63 - 1, 2 ** 64 - 1, -2 ** 63, 0, -1, 0.1, 1e-300, 1e300, 1.0, True, None,
                                   "text", [], {}, [1, [2.5, {"x": None}]], {"deep": {"er": [9007199254740993]}}])
def test_parameters_reach_the_model_as_they_are(client, upstream, value):
    client.ask("a question with parameters", parameters={"seed": value})
    got = json.loads(upstream.chats[0].raw_body)["seed"]
    assert got == value and (isinstance(got, bool) == isinstance(value, bool))
    if isinstance(value, int):
        assert isinstance(got, int)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_carry_is_a_clear_error(client, upstream, value):
    assert client.fails("get_or_generate", "INVALID", prompt="x", parameters={"temperature": value}).keys["field"]
    assert not upstream.chats


def test_messages_reach_the_model_as_they_are(client, upstream):
    messages = [{"role": "system", "content": "Ünïcode 🙂"}, {"role": "user", "content": "a", "name": "somebody"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function",
                                                                       "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
                {"role": "tool", "tool_call_id": "1", "content": "42"},
                {"role": "user", "content": [{"type": "text", "text": "what is this?"},
                                             {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
    client.call("get_or_generate", messages=messages)
    assert upstream.chats[0].body["messages"] == messages


@pytest.mark.parametrize("raw", [
    b'{"choices":[{"index":0,"delta":{"content":"a\\u0000b"},"finish_reason":null}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a\xff"},"finish_reason":null}]}',
    b'{"choices":[{"index":0,"delta":{"content":"\\ud800"},"finish_reason":null}]}',
])
def test_what_no_text_may_hold_is_never_passed_on_cut(client, upstream, raw):
    upstream.when(None, lambda chat: (chat.data(b"data: " + raw + b"\n\n"), chat.finish()))
    error = client.fails("get_or_generate", "UPSTREAM", prompt="x")
    assert error.keys["kind"] == "protocol"
    assert client.lookup("x")["tier"] == "miss"


def test_escaped_pairs_and_controls_of_the_model_are_text(client, upstream):
    raw = rb'{"choices":[{"index":0,"delta":{"content":"\ud83d\ude42 \u00fc \" \\ \/ \b\f\n\r\t \u0001"},"finish_reason":null}]}'
    upstream.when(None, lambda chat: (chat.data(b"data: " + raw + b"\n\n"), chat.finish()))
    assert client.ask("x")["answer"] == '🙂 ü " \\ / \b\f\n\r\t \x01'


@pytest.mark.parametrize("messages", [[], [5], ["x"], [{}], [{"role": "user"}], [{"content": "x"}],
                                      [{"role": 5, "content": "x"}], [{"role": "user", "content": 7}], [[]]])
def test_messages_of_another_shape_are_invalid_or_the_models_business(client, messages):
    request = client.start("get_or_generate", messages=messages)
    try:
        assert request.wait()["reason"] == "exact_only"
    except Exception as error:  # noqa: BLE001 - one of two outcomes
        assert error.code == "INVALID" and error.keys["field"].startswith("messages")
