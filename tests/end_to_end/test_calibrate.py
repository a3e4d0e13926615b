"""semcached calibrate, and through semcachectl, which gives the daemon the certificate."""
import json
import os
import subprocess

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S, eventually

ENOUGH = 260  # pairs without a failure earn 2 %: ln(0.05 / 3) / ln(0.98) = 203


@pytest.fixture
def pairs(place, upstream):
    """A function: writes labelled pairs, `right` of one similarity and `wrong` of another. Returns the path."""
    def act(right, wrong=0, at=0.97, wrong_at=0.80):
        path = os.path.join(place, "pairs.tsv")
        with open(path, "w", encoding="utf-8") as file:
            for i in range(right + wrong):
                label = i < right
                one, other = f"Question of kind {letters(i)}", f"The same as kind {letters(i)}"
                upstream.vectors.near(other, one, at if label else wrong_at)
                file.write(f"{one}\t{other}\t{int(label)}\n")
        return path
    return act


def letters(number):
    """A word for a number, without digits for the guards to compare."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number)) + "x"


def calibrate(daemon, *options, through=None):
    """(exit status, what was printed as JSON or None, standard error)."""
    command = [program(through or "semcached")]
    if through:
        command += ["--socket", daemon.socket_path]
    done = subprocess.run([*command, "calibrate", "--config", daemon.config_path, "--json", *options], capture_output=True,
                          text=True, timeout=DEADLINE_S * 2, check=False, stdin=subprocess.DEVNULL)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def promise(path, percent="2%"):
    return ["--pairs", path, "--max-false-hits-of-hits", percent]


def test_enough_labels_earn_a_certificate(make_daemon, upstream, pairs, place):
    daemon = make_daemon(upstream=upstream)
    daemon.write_config()
    path = pairs(ENOUGH, 100)
    out = f"{place}/certificate"
    status, result, err = calibrate(daemon, *promise(path), "--out", out)
    assert (status, err) == (0, "") and not result["refused"]
    certificate = result["certificate"]
    assert certificate["score_threshold"] == pytest.approx(0.97, abs=0.011) and certificate["margin"] == 0
    assert (certificate["labels"], certificate["wrong"], certificate["source"]) == (ENOUGH, 0, "pairs")
    assert 1 < certificate["bound_pct"] <= 2 and certificate["confidence_pct"] == 95 and certificate["bound_of"] == "hits"
    assert len(certificate["embedder"]) == len(certificate["scope_rule"]) == 16
    with open(out, encoding="utf-8") as file:
        text = file.read()
    assert text.startswith("namespace default\n") and f"embedder {certificate['embedder']}" in text and "\nbound_of hits\n" in text
    os.unlink(out)
    assert calibrate(daemon, *promise(path), "--out", out, "--dry-run")[0] == 0
    assert not os.path.exists(out)


def test_too_little_data_is_refused_with_what_is_missing(make_daemon, upstream, pairs, place):
    daemon = make_daemon(upstream=upstream)
    daemon.write_config()
    out = f"{place}/certificate"
    status, result, _err = calibrate(daemon, *promise(pairs(100)), "--out", out)
    assert status == 1 and result["refused"] and result["certificate"] is None and not os.path.exists(out)
    # 1 - (0.05 / 3) ** (1 / 100) = 4.01 %, and 203 without a failure would do.
    assert result["bound_pct"] == pytest.approx(4.0117, abs=1e-3)
    assert (result["served"], result["wrong"], result["labels_missing"]) == (100, 0, 103)
    done = subprocess.run([program("semcached"), "calibrate", "--config", daemon.config_path, *promise(pairs(100))],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1 and "smallest bound: 4.01 %" in done.stdout and "about 103 labels" in done.stdout


def test_the_same_words_again_are_no_evidence(make_daemon, upstream, place):
    daemon = make_daemon(upstream=upstream)
    daemon.write_config()
    path = f"{place}/stream.tsv"
    upstream.vectors.near("Tell me how to whistle", "How do I whistle?", 0.97)
    with open(path, "w", encoding="utf-8") as file:
        rows = ["Who painted it?", "How do I whistle?", *["Tell me how to whistle", "How do I whistle?"] * ENOUGH]
        file.write("id\tclass_id\tprompt\n" + "".join(f"{i}\t{int('whistle' in row)}\t{row}\n" for i, row in enumerate(rows)))
    status, result, err = calibrate(daemon, *promise(path))
    assert (status, err, result["served"]) == (1, "", 1)


def test_where_too_many_are_wrong_no_number_of_labels_would_do(make_daemon, upstream, pairs):
    daemon = make_daemon(upstream=upstream)
    daemon.write_config()
    status, result, _err = calibrate(daemon, *promise(pairs(300, 60, wrong_at=0.97)))
    assert status == 1 and result["labels_missing"] is None


def test_the_daemon_is_given_the_certificate_and_serves_by_it(make_daemon, redis, upstream, pairs):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"mode": "calibrated", "threshold": "0.99"}).start()
    path = pairs(ENOUGH, 100)
    status, result, err = calibrate(daemon, *promise(path), through="client/semcachectl")
    assert (status, err) == (0, "")

    def in_force():
        shown = daemon.client().call("config", namespace="default")["namespace default"]["certificate"]
        return shown if "bound" in shown else None
    shown = eventually(in_force, "the certificate to be in force")
    assert (shown["labels"], shown["embedder"]) == (ENOUGH, result["certificate"]["embedder"])
    assert shown["scope_rule"] == result["certificate"]["scope_rule"]
    # A dry run changes nothing, and a refusal neither.
    assert calibrate(daemon, *promise(path), "--dry-run", through="client/semcachectl")[0] == 0
    assert calibrate(daemon, *promise(path, "0.5%"), through="client/semcachectl")[0] == 1
    assert in_force()["created_ms"] == shown["created_ms"]
    client = daemon.client()
    upstream.vectors.near("Tell me how to whistle", "How do I whistle?", 0.975)
    client.call("get_or_generate", prompt="Who painted it?")
    client.call("get_or_generate", prompt="How do I whistle?")
    assert client.call("get_or_generate", prompt="Tell me how to whistle")["tier"] == "semantic"


def test_a_lone_entry_is_not_served_under_what_the_certificate_covers(make_daemon, redis, upstream, pairs):
    daemon = make_daemon(redis=redis, upstream=upstream, namespace__default={"mode": "calibrated", "threshold": "0.90"}).start()
    upstream.vectors.near("Tell me how to whistle", "How do I whistle?", 0.93)
    upstream.vectors.near("What is it to whistle", "How do I whistle?", 0.985)
    client = daemon.client()

    def ask(prompt, scope, method="get_or_generate"):
        return client.call(method, prompt=prompt, parameters={"temperature": scope})["tier"]
    assert ask("How do I whistle?", 0.1) == ask("How do I whistle?", 0.2) == "upstream"
    assert ask("Tell me how to whistle", 0.1) == "semantic"
    assert calibrate(daemon, *promise(pairs(ENOUGH, 100)), through="client/semcachectl")[0] == 0
    eventually(lambda: "bound" in client.call("config", namespace="default")["namespace default"]["certificate"],
               "the certificate to be in force")
    # 0.97 or so was found: neither the alias of before nor a lone entry is good enough any more.
    assert ask("Tell me how to whistle", 0.1, "lookup") == ask("Tell me how to whistle", 0.2, "lookup") == "miss"
    assert ask("What is it to whistle", 0.2) == "semantic"


def test_labels_of_people_count_from_redis(make_daemon, redis, upstream, pairs):
    daemon = make_daemon(redis=redis, upstream=upstream).start()
    status, result, _err = calibrate(daemon, "--max-false-hits-of-hits", "2%")
    assert status == 1 and result["labels"] == 0 and result["bound_pct"] == 100
    client = daemon.client()
    upstream.vectors.near("Tell me how to whistle", "How do I whistle?", 0.97)
    client.call("get_or_generate", prompt="How do I whistle?")
    hit = client.call("get_or_generate", prompt="Tell me how to whistle")
    client.call("feedback", entry=hit["entry"], question="Tell me how to whistle", verdict="right", similarity=hit["similarity"])
    eventually(lambda: calibrate(daemon, "--max-false-hits-of-hits", "2%")[1]["labels"] == 1, "the label to be read")
    # They are added to those of the file, unless that is not wanted.
    path = pairs(ENOUGH)
    status, result, _err = calibrate(daemon, *promise(path))
    assert status == 0 and result["certificate"]["labels"] == ENOUGH + 1
    assert result["certificate"]["source"] == "feedback+pairs"
    assert calibrate(daemon, *promise(path), "--only-pairs")[1]["certificate"]["source"] == "pairs"


def test_what_is_missing_is_said(make_daemon, upstream, redis, pairs):
    daemon = make_daemon(redis=redis, upstream=upstream)
    daemon.write_config()
    for options, part in (([], "--max-false-hits-of-hits"), (["--max-false-hits-of-hits", "0%"], "--max-false-hits-of-hits"),
                          (["--max-false-hits-of-hits", "2%", "--confidence", "5"], "--confidence"),
                          (["--max-false-hits-of-hits", "2%", "--only-pairs"], "--pairs")):
        status, result, err = calibrate(daemon, *options)
        assert (status, result) == (64, None) and part in err
    path = pairs(ENOUGH)
    redis.stop()
    status, _result, err = calibrate(daemon, *promise(path))
    assert status == 69 and "Redis does not answer" in err and "--only-pairs" in err
    assert calibrate(daemon, *promise(path), "--only-pairs")[0] == 0
