"""semcached evaluate, and through semcachectl: the figures are counted by hand here, on vectors that the test chooses."""
import json
import os
import shutil
import subprocess

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S

GNUPLOT = shutil.which("gnuplot")


@pytest.fixture
def evaluate(place, make_daemon, upstream):
    """A function: evaluates a file of these lines. Returns (status, standard output, standard error); with json=True the
    object that was printed."""
    daemon = make_daemon(upstream=upstream)

    def act(lines, *options, json_wanted=True, through=None, environment=None, namespace=None):
        daemon.config["namespace default"] = namespace or {}
        daemon.write_config()
        path = os.path.join(place, "set.tsv")
        with open(path, "wb") as file:
            file.write(lines if isinstance(lines, bytes) else "".join(line + "\n" for line in lines).encode())
        command = [through or program("semcached"), "evaluate", "--config", daemon.config_path, *options]
        if json_wanted:
            command.append("--json")
        done = subprocess.run([*command, path], capture_output=True, text=True, timeout=DEADLINE_S * 2, check=False,
                              stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        if json_wanted and done.returncode == 0:
            return json.loads(done.stdout)
        return done.returncode, done.stdout, done.stderr.replace(path, "FILE")
    return act


def at(result, threshold):
    """The point at a threshold."""
    [point] = [point for point in result["points"] if point["threshold"] == threshold]
    return point


def counts(point):
    return {key: point[key] for key in ("right", "wrong", "repeats", "traps", "requests", "served")}


def pairs(upstream):
    """Five pairs: three that share an answer, two traps."""
    rows = [("How do I whistle?", "Teach me whistling", 0.95, 1), ("What is rust?", "Explain rust to me", 0.92, 1),
            ("Why is the sky blue?", "What makes the sky look blue", 0.80, 1), ("What is a cat?", "What is a tiger?", 0.91, 0),
            ("Who wrote Faust?", "Who sang Faust?", 0.70, 0)]
    for one, other, similarity, _label in rows:
        upstream.vectors.near(other, one, similarity)
    return rows


def test_pairs_are_counted_as_the_page_says(evaluate, upstream):
    result = evaluate([f"{one}\t{other}\t{label}" for one, other, _similarity, label in pairs(upstream)])
    assert (result["kind"], result["requests"], result["mode"]) == ("pairs", 5, "threshold")
    shipped = result["shipped"]
    assert counts(shipped) == {"right": 2, "wrong": 1, "repeats": 3, "traps": 2, "requests": 5, "served": 3}
    assert shipped["threshold"] == 0.9
    assert [shipped[key] for key in ("hits_pct", "wrong_pct", "traps_pct", "false_hit_rate_pct")] == pytest.approx(
        [100 * 2 / 3, 20, 50, 100 / 3], abs=1e-3)
    # The exact interval for 1 of 3.
    assert [shipped["false_hit_rate_low_pct"], shipped["false_hit_rate_high_pct"]] == pytest.approx([0.8404, 90.5701], abs=1e-3)
    assert counts(at(result, 0.75)) == {"right": 3, "wrong": 1, "repeats": 3, "traps": 2, "requests": 5, "served": 4}
    nothing = at(result, 0.96)
    assert nothing["served"] == 0 and nothing["false_hit_rate_pct"] is None and nothing["hits_pct"] == 0
    thresholds = [point["threshold"] for point in result["points"]]
    assert thresholds == sorted(thresholds) and thresholds[0] == 0.5 and 0.99 in thresholds


@pytest.mark.parametrize("header, order", [("q1\tq2\tlabel", (0, 1, 2)), ("sentence1\tsentence2\tlabel", (0, 1, 2)),
                                           ("label\tscore\tq1\tq2", (2, 3, 0, 1)), ("q2\tlabel\tid\tq1", (1, 2, 3, 0))])
def test_columns_are_found_by_their_names(evaluate, upstream, header, order):
    lines = [header]
    for one, other, _similarity, label in pairs(upstream):
        row = {"q1": one, "q2": other, "sentence1": one, "sentence2": other, "label": str(label)}
        lines.append("\t".join(row.get(name, "x") for name in header.split("\t")))
    assert len(order) >= 3
    assert counts(evaluate(lines)["shipped"])["right"] == 2


def test_the_byte_order_mark_and_carriage_returns_are_passed_over(evaluate, upstream):
    lines = [f"{one}\t{other}\t{label}" for one, other, _similarity, label in pairs(upstream)]
    data = b"\xef\xbb\xbf" + "\r\n".join(["q1\tq2\tlabel", *lines, "", ""]).encode()
    assert counts(evaluate(data)["shipped"])["requests"] == 5


def test_the_real_guards_have_their_say_and_each_is_told_by_itself(evaluate, upstream):
    upstream.vectors.near("Which service listens on port 443?", "Which service listens on port 80?", 0.99)
    lines = [f"{one}\t{other}\t{label}" for one, other, _similarity, label in pairs(upstream)]
    lines.append("Which service listens on port 80?\tWhich service listens on port 443?\t0")
    result = evaluate(lines, namespace={"guards": "numbers:on"})
    assert result["shipped"]["wrong"] == 1 and result["without_guards"]["wrong"] == 2
    guards = {guard["guard"]: guard for guard in result["guards"]}
    assert guards["numbers"]["on"] and (guards["numbers"]["hits_lost"], guards["numbers"]["wrong_saved"]) == (0, 1)
    assert (guards["urls"]["hits_lost"], guards["urls"]["wrong_saved"]) == (0, 0)
    for options in (["--guards", "all:off"], ["--guards", "numbers:shadow"]):
        assert evaluate(lines, *options)["shipped"]["wrong"] == 2


def stream(upstream):
    """Seven requests; see the test."""
    vectors = upstream.vectors
    vectors.near("Tell me how to whistle", "How do I whistle?", 0.95)
    vectors.near("Who composed it?", "Who painted it?", 0.93)
    vectors.near("By whom was it composed?", "Who composed it?", 0.95)  # and 0.88 to who painted it
    rows = [(1, "How do I whistle?"), (2, "Who painted it?"), (1, "Tell me how to whistle"), (3, "Who composed it?"),
            (3, "By whom was it composed?"), (3, "Who composed it?"), (1, "How do I whistle?")]
    return ["id\tclass_id\tprompt", *[f"{number}\t{which}\t{prompt}" for number, (which, prompt) in enumerate(rows)]]


def test_a_stream_stores_only_what_was_not_served(evaluate, upstream):
    result = evaluate(stream(upstream))
    assert (result["kind"], result["requests"], result["questions"]) == ("stream", 7, 5)
    # The third is rightly served the first's answer, the last is the first again. The fourth is wrongly served the second's, and so
    # is the sixth, in the same words. The fifth is stored: its class was not, because the fourth was served.
    assert counts(result["shipped"]) == {"right": 2, "wrong": 2, "repeats": 3, "traps": None, "requests": 7, "served": 4}
    assert result["shipped"]["traps_pct"] is None
    # Now only words that are the same are served: the sixth and the last.
    assert counts(at(result, 0.99)) == {"right": 2, "wrong": 0, "repeats": 4, "traps": None, "requests": 7, "served": 2}
    assert upstream.embedded_texts and len(upstream.embedded_texts) == len(set(upstream.embedded_texts)) == 5
    assert counts(evaluate(stream(upstream), "--mode", "exact")["shipped"])["served"] == 2
    assert evaluate(stream(upstream), "--threshold", "0.94")["shipped"]["wrong"] == 0
    assert evaluate(stream(upstream), namespace={"threshold": "0.94"})["shipped"]["threshold"] == 0.94
    assert evaluate(stream(upstream), namespace={"mode": "shadow"})["shipped"]["served"] == 4


def test_the_margin_counts_only_where_there_is_a_next_nearest(evaluate, upstream):
    upstream.vectors.near("Tell me how to whistle", "How do I whistle?", 0.90)
    score = ["--mode", "calibrated", "--threshold", "0.96", "--margin", "0.5", "--margin-floor", "0.7", "--minimum", "0.7"]
    space = {"threshold": "0.95", "score_threshold": "1"}
    lone = ["id\tclass_id\tprompt", "1\t1\tHow do I whistle?", "2\t1\tTell me how to whistle"]
    result = evaluate(lone, *score, namespace=space)
    assert (result["threshold_of"], result["shipped"]["threshold"], result["shipped"]["right"]) == ("score", 0.96, 0)
    # 0.9 + 0.5 * (0.9 - 0.7) = 1.0, because there is another, farther one.
    crowd = [lone[0], "0\t7\tWho painted it?", *lone[1:]]
    result = evaluate(crowd, *score, namespace=space)
    assert result["shipped"]["right"] == 1 and result["parameters"]["margin"] == 0.5
    assert at(result, 1.01)["right"] == 0
    assert result["points"][-1]["threshold"] == 1.3
    # Of pairs each is alone.
    result = evaluate(["How do I whistle?\tTell me how to whistle\t1"], *score[:2], *score[4:], namespace=space)
    assert (result["threshold_of"], result["shipped"]["threshold"], result["shipped"]["right"]) == ("similarity", 0.95, 0)


def test_the_best_threshold_is_chosen_on_one_half_and_measured_on_the_other(evaluate, upstream):
    vectors = upstream.vectors
    rows = []
    for odd, good, bad in ((0, 0.972, 0.93), (1, 0.982, 0.976)):
        base = f"The question of the {'odd' if odd else 'even'} classes"
        vectors.near(base + ", said otherwise", base, good)
        vectors.near(base + ", or another one", base, bad)
        rows += [(2 - odd, base), (2 - odd, base + ", said otherwise"), (4 - odd, base + ", or another one")]
    lines = ["id\tclass_id\tprompt", *[f"{number}\t{which}\t{prompt}" for number, (which, prompt) in enumerate(rows)]]
    result = evaluate(lines, "--max-wrong", "0%", "--tune", "class:even", "--test", "class:odd")
    assert result["best"]["threshold"] == result["tuned"]["threshold"] == 0.97
    assert counts(result["tuned"]) == {"right": 1, "wrong": 0, "repeats": 1, "traps": None, "requests": 3, "served": 1}
    assert counts(result["best"]) == {"right": 1, "wrong": 1, "repeats": 1, "traps": None, "requests": 3, "served": 2}
    assert result["shipped"]["requests"] == result["requests"] == 3
    result = evaluate(lines, "--max-wrong", "0%", "--tune", "class:odd", "--test", "class:even")
    assert result["best"]["threshold"] == 0.98 and result["best"]["right"] == 0
    result = evaluate(lines, "--max-wrong", "20%")
    assert result["tuned"] is None and result["best"]["right"] == 2 and result["best"]["wrong"] == 1
    _status, out, _err = evaluate(lines, "--max-wrong", "0%", "--tune", "class:even", "--test", "class:odd", json_wanted=False)
    assert "chosen on" in out and "measured" in out


def test_no_threshold_may_keep_what_is_asked_for(evaluate, upstream):
    lines = ["A question\tA question\t0"]  # served whatever the threshold is
    assert evaluate(lines, "--max-traps", "0%")["best"] is None
    assert upstream.embedded_texts == ["A question"]
    assert "no threshold keeps" in evaluate(lines, "--max-traps", "0%", json_wanted=False)[1]


def test_the_table_has_counts_beside_every_percentage(evaluate, upstream):
    status, out, err = evaluate([f"{one}\t{other}\t{label}" for one, other, _similarity, label in pairs(upstream)],
                                json_wanted=False)
    assert (status, err) == (0, "")
    [line] = [line for line in out.splitlines() if line.startswith("in force")]
    for part in ("0.900", "66.7 % (2/3)", "20.00 % (1/5)", "50.0 % (1/2)", "33.33 % (1/3)", "0.84 - 90.57 %"):
        assert part in line, line


@pytest.mark.parametrize("data, line, part", [
    (b"", 1, "empty"),
    (b"q1\tq2\tlabel\n", 1, "no row"),
    (b"one\ttwo\n", 1, "header"),
    (b"a b\tc d\t2\n", 1, "header"),
    (b"q1\tq2\tlabel\na\tb\t1\na\tb\n", 3, "2 columns"),
    (b"q1\tq2\tlabel\na\tb\tyes\n", 2, "neither 0 nor 1"),
    (b"q1\tq2\tlabel\n\tb\t1\n", 2, "empty"),
    (b"q1\tq2\tlabel\na\t\xff\t1\n", 2, "UTF-8"),
    (b"q1\tq2\tlabel\na\tb\x00c\t1\n", 2, "NUL"),
    (b"id\tclass_id\tprompt\n1\t\tq\n", 2, "class_id"),
    (b"a\tb\t1\nc\td\t0\ne\tf\t0\n", 3, "--max-questions"),
])
def test_a_mistake_in_the_file_names_its_line(evaluate, upstream, data, line, part):
    status, out, err = evaluate(data, "--max-questions", "2")
    assert (status, out) == (65, "") and err.startswith(f"FILE:{line}: ") and part in err, err
    assert not upstream.embeddings


@pytest.mark.parametrize("options, part", [
    (["--threshold", "x"], "--threshold"), (["--threshold", "nan"], "--threshold"), (["--max-wrong", "101%"], "--max-wrong"),
    (["--max-wrong", "2"], "--max-wrong"), (["--mode", "fast"], "--mode"), (["--guards", "numbers"], "--guards"),
    (["--guards", "none:on"], "--guards"), (["--tune", "half"], "--tune"), (["--max-questions", "0"], "--max-questions"),
    (["--nothing"], "--nothing"), (["another.tsv"], "too much"),
])
def test_a_wrong_command_line_says_what_is_wrong(evaluate, options, part):
    status, out, err = evaluate([], *options)
    assert (status, out) == (64, "") and part in err


def test_halves_need_numbered_classes_and_traps_need_pairs(evaluate, upstream):
    lines = ["id\tclass_id\tprompt", "1\tx\tA question"]
    status, _out, err = evaluate(lines, "--test", "class:even")
    assert status == 65 and "numbers" in err
    status, _out, err = evaluate(lines, "--max-traps", "1%")
    assert status == 65 and "pairs" in err
    assert not upstream.embeddings


def test_what_the_embedder_refuses_or_would_not_be_given_is_only_matched_exactly(evaluate, upstream):
    upstream.when_embedding("strange", lambda exchange: exchange.fail(400, "unknown characters"))
    lines = ["q1\tq2\tlabel", "a strange one\tanother strange one\t1", "a strange one\ta strange one\t1",
             f"{'long ' * 2000}\tshort\t1"]
    result = evaluate(lines)
    assert result["not_compared"] == 3 and counts(result["shipped"])["right"] == 1


def test_an_embedder_that_is_away_is_told(evaluate, upstream):
    upstream.refuse()
    status, out, err = evaluate(["one thing\tanother thing\t1"])
    assert (status, out) == (69, "") and "embedder does not answer" in err
    upstream.listen()


def test_an_embedder_that_fails_for_a_moment_is_asked_again(evaluate, upstream):
    failures = iter(range(2))

    def fails_twice(exchange):
        if next(failures, None) is None:
            exchange.answer()
        else:
            exchange.fail(500, "not now")
    upstream.when_embedding(None, fails_twice)
    assert counts(evaluate(["one thing\tanother thing\t1"])["shipped"])["requests"] == 1


def test_without_an_embedder_there_is_nothing_to_evaluate(place, make_daemon):
    daemon = make_daemon()
    daemon.write_config()
    done = subprocess.run([program("semcached"), "evaluate", "--config", daemon.config_path, "/dev/null"], capture_output=True,
                          text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 78 and "url is empty" in done.stderr
    done = subprocess.run([program("semcached"), "evaluate", "--config", f"{place}/none.conf", "/dev/null"],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 78 and "none.conf" in done.stderr


def test_semcachectl_finds_the_daemon_and_passes_everything_on(evaluate, upstream, place):
    ctl = program("client/semcachectl")
    lines = [f"{one}\t{other}\t{label}" for one, other, _similarity, label in pairs(upstream)]
    assert counts(evaluate(lines, "--threshold", "0.94", through=ctl)["shipped"])["right"] == 1
    named = {"SEMCACHE_DAEMON": program("semcached")}
    assert counts(evaluate(lines, through=ctl, environment=named)["shipped"])["right"] == 2
    status, _out, err = evaluate(lines, through=ctl, environment={"SEMCACHE_DAEMON": f"{place}/nowhere"}, json_wanted=False)
    assert status == 69 and "nowhere" in err and "SEMCACHE_DAEMON" in err
    for arguments in (["help", "evaluate"], ["evaluate", "--help"]):
        done = subprocess.run([ctl, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0 and "--max-wrong" in done.stdout


@pytest.mark.skipif(not GNUPLOT, reason="needs gnuplot")
def test_a_drawing_is_made(evaluate, upstream, place):
    path = f"{place}/it's a plot.png"
    evaluate([f"{one}\t{other}\t{label}" for one, other, _similarity, label in pairs(upstream)], "--plot", path)
    with open(path, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    status, _out, err = evaluate(["a\tb\t1"], "--plot", f"{place}/no/such/folder.png")
    assert status == 1 and "no/such/folder.png: No such file" in err


@pytest.mark.skipif(not GNUPLOT, reason="needs gnuplot")
def test_a_drawing_of_one_half_is_made(evaluate, upstream, place):
    path = f"{place}/half.png"
    evaluate(stream(upstream), "--test", "class:odd", "--plot", path)
    with open(path, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_drawing_without_gnuplot_is_an_error(evaluate, place):
    status, _out, err = evaluate(["a\tb\t1"], "--plot", f"{place}/x.png", environment={"PATH": place})
    assert status == 1 and "gnuplot is not installed" in err
