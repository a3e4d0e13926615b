"""How often the comparison of answers is wrong is measured with the chat model itself, given to the daemon, and decides what labels of
audits and shadow are worth."""
import json
import os
import subprocess
import time

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S
from test_calibrate import calibrate
from test_settings import setting
from upstream import fails

ONE, TWO = "first answer", "second answer"


@pytest.fixture
def measured(place, redis, upstream, make_daemon):
    """A function that measures on `pairs`, (text, text, label, similarity of their answers); None: the same text. Questions are asked
    by text; `again`: the similarity of the second answer to the first question."""
    daemon = make_daemon(redis=redis, upstream=upstream)

    def act(pairs, *options, again=None, through="semcached", as_json=True):
        asked = {}

        def reply(chat):
            number = asked[chat.text] = asked.get(chat.text, 0) + 1
            text = answer_of(chat.text, pairs, upstream)
            if number == 2 and again is not None:
                text = upstream.vectors.near("again: " + text, text, again)
            chat.token(text)
            chat.finish()
        upstream.when(None, reply)
        path = os.path.join(place, "pairs.tsv")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{one}\t{two}\t{label}\n" for one, two, label, _similarity in pairs)
        daemon.write_config()
        command = [program(through), *(["--socket", daemon.socket_path] if through != "semcached" else [])]
        done = subprocess.run([*command, "evaluate", "--config", daemon.config_path, "--comparator", *(["--json"] if as_json else []),
                               *options, path], capture_output=True, text=True, timeout=DEADLINE_S * 2, check=False)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if as_json and done.stdout else done.stdout, done.stderr
    act.daemon = daemon
    return act


def answer_of(text, pairs, upstream):
    """What the model says: to the second of a pair an answer of the similarity to that of the first."""
    for one, two, _label, similarity in pairs:
        if text == one:
            return f"{ONE} to {one}"
        if text == two:
            return f"{ONE} to {one}" if similarity is None else upstream.vectors.near(f"{TWO} to {one}", f"{ONE} to {one}", similarity)
    raise AssertionError(text)


def word(number):
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def pairs_of(same, different):
    """Pairs with label 1 whose answers have the similarities `same`, with label 0 those of `different`."""
    return [(f"What is {word(i)} for?", f"Tell me what {word(i)} is for", label, similarity)
            for i, (label, similarity) in enumerate([(1, s) for s in same] + [(0, s) for s in different])]


def test_both_errors_are_counted(measured, upstream):
    code, result, err = measured(pairs_of([None, 0.95, 0.85, 0.4, 0.3], [0.9, 0.52, 0.1, 0.2]), again=0.7)
    assert code == 0, err
    assert (result["model"], result["threshold"], result["pairs"], result["not_comparable"]) == ("test-model", 0.8, 9, 0)
    assert {key: (result[key]["wrong"], result[key]["count"]) for key in ("false_same", "false_different", "same_question")} == {
        "false_same": (1, 4), "false_different": (2, 5), "same_question": (9, 9)}
    assert result["false_same"]["low_pct"] == pytest.approx(0.63, abs=0.01)
    assert result["false_same"]["high_pct"] == pytest.approx(80.59, abs=0.01)
    [point] = [point for point in result["points"] if point["threshold"] == 0.5]
    assert (point["false_same"], point["false_different"], point["same_question"]) == (50, 40, 0)
    # Each pair's first question is asked twice.
    assert len(upstream.chats) == 27


def test_people_see_it_too(measured):
    code, out, err = measured(pairs_of([None, 0.3], [0.9, 0.1]), "--compare-threshold", "0.85", as_json=False)
    assert code == 0, err
    for line in ("answers of test-model, compared at 0.85", "different, called the same", "the same, called different",
                 "one question twice, called different"):
        assert line in out, out


def test_a_limit_takes_as_many_of_each_label(measured):
    code, result, err = measured(pairs_of([None] * 9, [0.1] * 9), "--limit", "6")
    assert code == 0, err
    assert (result["pairs"], result["false_same"]["count"], result["false_different"]["count"]) == (6, 3, 3)
    code, result, err = measured(pairs_of([None] * 9, [0.1]), "--limit", "6")
    assert (result["pairs"], result["false_same"]["count"], result["false_different"]["count"]) == (6, 1, 5)


def test_the_questions_are_asked_as_is_said(measured, upstream):
    code, _result, err = measured(pairs_of([None], [0.1]), "--system", "Be short.", "--temperature", "0", "--model", "other-model")
    assert code == 0, err
    body = upstream.chats[0].body
    assert body["messages"][0] == {"role": "system", "content": "Be short."} and body["messages"][1]["role"] == "user"
    assert (body["temperature"], body["model"]) == (0, "other-model")


def test_what_is_not_whole_is_not_comparable(measured, upstream):
    pairs = pairs_of([None, None], [0.1])
    code, result, err = measured(pairs, "--limit", "3")
    assert code == 0 and result["not_comparable"] == 0, err
    upstream.when(pairs[0][1], lambda chat: (chat.token("cut"), chat.finish("length")))
    code, result, err = run_again(measured, pairs, upstream)
    assert (result["not_comparable"], result["false_different"]["count"], result["pairs"]) == (1, 1, 3)


def run_again(measured, pairs, upstream):
    """With the rules of the upstream kept in front."""
    rule = upstream._rules[0]
    original = upstream.when

    def behind(match, act):
        original(match, act)
        upstream._rules.insert(0, upstream._rules.pop(upstream._rules.index(rule)))
    upstream.when = behind
    return measured(pairs)


@pytest.mark.parametrize("options, lines, code", [
    (("--limit", "0"), None, 64), (("--model", "nobody"), None, 78), ((), "a\tb\n", 65)])
def test_what_cannot_be_measured_is_an_error(measured, place, options, lines, code):
    measured.daemon.write_config()
    path = os.path.join(place, "set.tsv")
    with open(path, "w", encoding="utf-8") as file:
        file.write(lines or "a\tb\t1\n")
    done = subprocess.run([program("semcached"), "evaluate", "--config", measured.daemon.config_path, "--comparator", *options, path],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == code and done.stderr, done


@pytest.mark.parametrize("fault", ["status", "refused"])
def test_a_model_that_does_not_answer_is_given_up(measured, upstream, fault):
    if fault == "refused":
        measured.daemon.configure("upstream main", unix_socket="/tmp/nobody.sock")
    else:
        upstream.when(None, fails(400, "no such thing"))
    pairs = pairs_of([None], [0.1])
    code, _out, err = measured(pairs) if fault == "refused" else run_again(measured, pairs, upstream)
    assert code == 69 and "the model does not answer" in err
    assert fault == "refused" or "no such thing" in err


def test_the_options_need_comparator(measured, place):
    measured.daemon.write_config()
    done = subprocess.run([program("semcached"), "evaluate", "--config", measured.daemon.config_path, "--limit", "5", "x"],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 64 and "--comparator" in done.stderr


def test_the_daemon_is_given_what_was_measured(measured):
    daemon = measured.daemon.start()
    code, _out, err = measured(pairs_of([None, None, 0.3], [0.9, 0.1, 0.2, 0.3]), "--store", through="client/semcachectl")
    assert code == 0, err
    client = daemon.client()
    assert setting(client, "comparator_false_same") == ("1/4", "redis")
    assert setting(client, "comparator_false_different") == ("1/3", "redis")


# ---- what labels are worth ----

def put_labels(daemon, redis, source, count, wrong=0):
    """Labels of a source as the daemon writes them."""
    daemon.client().ask("So that an embedder is there?")
    embedder = next(iter(daemon.client().call("config", namespace="default").values()))["certificate"]["embedder"]
    redis.pipeline([["XADD", "semcache:label:default", "*", "question", "%064x" % i, "entry", "%064x" % i, "similarity", "0.97",
                     "score", "0.97", "right", str(int(i >= wrong)), "source", source, "embedder", embedder, "at_ms",
                     str(int(time.time() * 1000))] for i in range(count)])


def calibrate_text(daemon):
    """What calibrate prints for people."""
    return subprocess.run([program("semcached"), "calibrate", "--config", daemon.config_path, *PROMISE], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False).stdout


PROMISE = ["--max-false-hits-of-hits", "5%"]


@pytest.mark.parametrize("source", ["audit", "shadow"])
def test_labels_of_a_comparison_count_by_what_was_measured(make_daemon, redis, upstream, source):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    put_labels(daemon, redis, source, 600)
    status, result, _err = calibrate(daemon, *PROMISE)
    assert status == 1 and result["refused"], "not measured: no evidence"
    assert (result["labels"], result["labels_left_out"], result["comparator_error_pct"]) == (0, 600, None)
    daemon.client().call("config", set={"comparator_false_same": "20/200"})
    status, result, _err = calibrate(daemon, *PROMISE)
    assert status == 1 and result["refused"], "it errs more often than is promised"
    assert result["compared"] == 600 and result["comparator_error_pct"] == pytest.approx(14.1, abs=0.5)
    assert "wrong more often than is promised" in calibrate_text(daemon)
    daemon.client().call("config", set={"comparator_false_same": "0/300"})
    status, result, err = calibrate(daemon, *PROMISE)
    assert status == 0, (result, err)
    # Nothing of 300 is at most 1 % at 95 %; nothing of 600 .68 % at 98.3 %.
    assert result["certificate"]["bound_pct"] == pytest.approx(1.0 + 0.68, abs=0.02)


def test_what_the_file_says_was_measured_counts_where_redis_has_nothing(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"comparator_false_same": "0/300"}).start()
    put_labels(daemon, redis, "audit", 600)
    assert calibrate(daemon, *PROMISE)[0] == 0
    daemon.client().call("config", set={"comparator_false_same": "20/200"})
    assert calibrate(daemon, *PROMISE)[0] == 1


def test_a_judges_labels_need_an_error_that_is_given(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"comparator_false_same": "0/300"}).start()
    put_labels(daemon, redis, "judge", 600)
    assert calibrate(daemon, *PROMISE)[0] == 1
    assert calibrate(daemon, *PROMISE, "--comparator-error", "1%")[0] == 0


def test_people_and_a_comparison_together_earn_what_the_comparison_alone_does_not(make_daemon, redis, upstream):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"comparator_false_same": "20/200"}).start()
    put_labels(daemon, redis, "audit", 100)
    put_labels(daemon, redis, "feedback", 900)
    status, result, _err = calibrate(daemon, *PROMISE)
    assert status == 0 and 1 < result["certificate"]["bound_pct"] < 5
