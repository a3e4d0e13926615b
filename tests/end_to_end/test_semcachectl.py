"""semcachectl against the real daemon: what goes to which output, and with which exit code."""
import json
import os
import pty
import re
import subprocess

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S, eventually
from upstream import holds

QUESTION = "What is a Unix domain socket?"
WORDING = "Explain Unix domain sockets to me"
ANSWER = "The answer to <What is a Unix domain socket?> is 29."
METRIC = re.compile(r"^semcache_[a-z0-9_]+(\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\})? -?[0-9.e+-]+$")
COMMANDS = ["ask", "lookup", "explain", "watch", "add", "show", "list", "invalidate", "flush", "feedback", "reject", "accept", "undo",
            "stats", "health", "ping", "hello", "config", "reload", "drain"]


@pytest.fixture
def ctl(daemon):
    """A function: semcachectl with these arguments. Returns (exit code, standard output, standard error)."""
    return caller(daemon.socket_path)


def caller(socket_path):
    def call(*arguments, stdin=None):
        environment = {**os.environ, "SEMCACHE_SOCKET": socket_path}
        source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run([program("client/semcachectl"), *arguments], env=environment, **source, capture_output=True,
                              text=True, timeout=DEADLINE_S)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr
    return call


def test_ask_prints_the_answer_and_says_where_it_came_from(ctl, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    code, out, err = ctl("ask", QUESTION)
    assert (code, out) == (0, ANSWER + "\n") and err.startswith("[upstream] test-model")
    code, out, err = ctl("ask", WORDING)
    assert (code, out) == (0, ANSWER + "\n")
    assert err.startswith("[semantic]") and "similarity 0.950" in err and f"asked as: {QUESTION}" in err and ", request " in err
    # By an alias too it was decided by meaning, but not where the same question is answered.
    err = ctl("ask", WORDING)[2]
    assert err.startswith("[memory]") and "similarity 0.950" in err and ", request " in err
    assert ", request " not in ctl("ask", QUESTION)[2]
    assert ctl("ask", "--quiet", QUESTION) == (0, ANSWER + "\n", "")
    assert len(upstream.chats) == 1


def test_the_question_may_come_from_standard_input(ctl, upstream):
    assert ctl("ask", "-q", stdin=QUESTION + "\n") == (0, ANSWER + "\n", "")
    assert ctl("ask", "-q", "-", stdin=QUESTION) == (0, ANSWER + "\n", "")
    assert upstream.chats[0].body["messages"] == [{"role": "user", "content": QUESTION}]
    assert len(upstream.chats) == 1


def test_words_that_are_not_quoted_ask_nothing(ctl, upstream):
    code, out, err = ctl("ask", "What", "is", "this?")
    assert (code, out) == (64, "") and "quoted" in err
    assert ctl("ask", stdin="a\0b")[0] == 64
    assert ctl("ask", "")[0] == 64
    assert not upstream.chats


def test_system_message_and_parameters_arrive_as_they_were_given(ctl, upstream):
    code, _out, err = ctl("ask", QUESTION, "-s", "Be short.", "-p", "temperature=0", "-p", 'stop=["\\n", "x"]',
                          "-p", "seed=9007199254740993", "-m", "other-model")
    assert code == 0, err
    body = upstream.chats[0].body
    assert body["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": QUESTION}]
    assert (body["temperature"], body["stop"], body["seed"]) == (0, ["\n", "x"], 9007199254740993)
    assert body["model"] == "other-model"


@pytest.mark.parametrize("parameter", ["temperature", "=1", "x=", "x=y", "x={", "x=1 2", "x=[1,]",
                                       "x=99999999999999999999", "x=[-9223372036854775809]"])
def test_a_parameter_that_is_no_json_asks_nothing(ctl, upstream, parameter):
    code, out, err = ctl("ask", QUESTION, "--parameter", parameter)
    assert (code, out) == (64, "") and "--parameter" in err
    assert not upstream.chats


def test_lookup_never_spends_and_names_the_nearest(ctl, upstream):
    upstream.vectors.near(WORDING, QUESTION, 0.85)
    code, out, err = ctl("lookup", QUESTION)
    assert (code, out) == (1, "") and err.startswith("[miss]")
    ctl("ask", QUESTION)
    code, out, err = ctl("lookup", WORDING)
    assert (code, out) == (1, "") and "below_threshold" in err and "nearest 0.850" in err and QUESTION in err
    assert ctl("lookup", WORDING, "-t", "0.8", "-q") == (0, ANSWER + "\n", "")
    assert ctl("lookup", WORDING, "-t", "0.8", "--exact")[0] == 1
    assert len(upstream.chats) == 1


def test_cache_only_is_not_found(ctl, upstream):
    code, out, _err = ctl("ask", QUESTION, "--cache", "only", "--json")
    assert code == 1 and json.loads(out)["error"]["code"] == "NOT_FOUND"
    assert not upstream.chats


def test_json_is_one_object_for_results_and_errors(ctl):
    code, out, err = ctl("ask", "--json", QUESTION)
    result = json.loads(out)
    assert code == 0 and err == "" and result["answer"] == ANSWER and result["tier"] == "upstream"
    code, out, err = ctl("lookup", "--json", QUESTION)
    assert code == 0 and json.loads(out)["similarity"] == 1.0
    code, out, err = ctl("ask", "--json", QUESTION, "--namespace", "not allowed")
    assert (code, err) == (65, "") and json.loads(out)["error"]["detail"] == "field=namespace"
    code, out, err = ctl("ask", "--json", "a", "b")
    assert (code, err) == (64, "") and json.loads(out)["error"]["code"] == "USAGE"
    for command in ("stats", "health", "hello", "config", "list", "ping"):
        code, out, err = ctl(command, "--json")
        assert (code, err) == (0, "") and isinstance(json.loads(out), dict) and out.count("\n") == 1


def test_a_failure_of_the_model_has_its_own_exit_code(ctl, upstream):
    upstream.when(None, lambda chat: chat.fail(429, "slow down"))
    code, out, err = ctl("ask", QUESTION)
    assert (code, out) == (74, "") and "UPSTREAM" in err and "status=429" in err


def test_on_a_terminal_the_answer_comes_as_it_is_made(daemon, upstream):
    upstream.when(None, holds)
    parent, child = pty.openpty()
    with subprocess.Popen([program("client/semcachectl"), "ask", QUESTION], stdin=subprocess.DEVNULL, stdout=child,
                          stderr=subprocess.PIPE, env={**os.environ, "SEMCACHE_SOCKET": daemon.socket_path}) as process:
        os.close(child)
        try:
            chat = upstream.wait_chat()
            shown = ""
            for word in ("One ", "\x1b[31mtwo ", "thrée "):
                chat.token(word)
                while not shown.endswith(word[-4:]):
                    shown += os.read(parent, 1000).decode()
            chat.finish()
            assert process.wait(DEADLINE_S) == 0
        finally:
            os.close(parent)
        assert shown == "One  [31mtwo thrée "
        assert b"[upstream]" in process.stderr.read()


def test_a_caller_that_goes_away_frees_the_model(daemon, upstream):
    upstream.when(None, holds)
    process = subprocess.Popen([program("client/semcachectl"), "ask", QUESTION, "--cache", "no_store"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "SEMCACHE_SOCKET": daemon.socket_path})
    chat = upstream.wait_chat()
    process.terminate()
    process.wait(DEADLINE_S)
    chat.wait_closed_by_client()


def test_an_entry_is_added_shown_listed_and_removed(ctl):
    code, out, _err = ctl("add", "--json", "Who?", "Me.", "--tag", "people", "--tag", "short", "--ttl", "100")
    entry = json.loads(out)["entry"]
    assert code == 0 and len(bytes.fromhex(entry)) == 32
    code, out, _err = ctl("show", entry)
    assert code == 0 and "Me." in out and "people, short" in out
    code, out, _err = ctl("list")
    assert code == 0 and out.startswith(entry) and "Who?" in out
    assert ctl("add", "Where?", stdin="Here.\n")[0] == 0
    assert ctl("ask", "-q", "Where?")[1] == "Here.\n"
    code, out, err = ctl("list", "--limit", "1")
    assert code == 0 and out.count("\n") == 1
    after = re.search(r"--after (.*)", err).group(1)
    code, second, err = ctl("list", "--limit", "1", "--after", after)
    assert second.count("\n") == 1 and second[:64] != out[:64]
    code, out, _err = ctl("invalidate", "--tag", "people", "--dry-run", "--json")
    assert code == 0 and json.loads(out)["entries"] == 1
    assert ctl("lookup", "-q", "Who?")[0] == 0
    code, out, _err = ctl("invalidate", "--tag", "people")
    assert code == 0 and re.search(r"^entries +1$", out, re.MULTILINE)
    assert ctl("lookup", "-q", "Who?")[0] == 1
    assert ctl("show", entry)[0] == 1


def test_invalidate_takes_exactly_one_selector(ctl):
    assert ctl("invalidate")[0] == 64
    assert ctl("invalidate", "--tag", "a", "--tag", "b")[0] == 64
    assert ctl("invalidate", "--tag", "a", "--question", "b")[0] == 64
    assert ctl("invalidate", "--namespace", "nobody")[0] == 0


def test_flush_needs_a_yes(ctl):
    ctl("add", "Who?", "Me.")
    code, out, err = ctl("flush")
    assert (code, out) == (64, "") and "--yes" in err
    assert ctl("lookup", "-q", "Who?")[0] == 0
    assert ctl("flush", "--yes")[0] == 0
    assert ctl("lookup", "-q", "Who?")[0] == 1


def test_stats_for_people_and_for_prometheus(ctl):
    ctl("ask", QUESTION)
    ctl("ask", QUESTION)
    code, out, err = ctl("stats")
    assert (code, err) == (0, "") and re.search(r"^  answers_upstream +1$", out, re.MULTILINE)
    code, out, err = ctl("stats", "--prometheus")
    assert (code, err) == (0, "")
    assert "semcache_answers_upstream_total 1\n" in out
    names = set()
    for line in out.splitlines():
        if line.startswith("# TYPE "):
            _hash, _type, name, kind = line.split(" ")
            assert name not in names and kind in ("counter", "gauge", "summary")
            names.add(name)
        elif not line.startswith("# HELP "):
            assert METRIC.match(line), line
            family = re.sub(r"_(sum|count)$", "", line.split(" ")[0].split("{")[0])
            assert family in names, line


def test_health_is_the_exit_code(daemon, redis, ctl):
    assert ctl("health")[:1] == (0,)
    redis.freeze()
    daemon.client().ask("something to make it notice", timeout_ms=10000)
    eventually(lambda: ctl("health")[0] == 1, "health to be degraded")
    code, out, _err = ctl("health")
    assert code == 1 and out.startswith("degraded\n") and "redis" in out
    redis.thaw()


def test_without_a_daemon(place):
    ctl = caller(os.path.join(place, "nobody.sock"))
    code, out, err = ctl("ping")
    assert (code, out) == (69, "") and "nobody.sock" in err and "SEMCACHE_SOCKET" in err
    assert ctl("health")[0] == 2
    code, out, err = ctl("ask", "x", "--json", "--connect-timeout", "0.01")
    assert (code, err) == (69, "") and json.loads(out)["error"]["code"] == "CONNECT"


def test_drain_ends_the_daemon(daemon, ctl):
    daemon.ending = True
    assert ctl("drain")[0] == 0
    assert daemon.wait_exit() == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(place, command):
    ctl = caller(os.path.join(place, "nobody.sock"))
    code, out, err = ctl(command, "--help")
    assert (code, err) == (0, "") and out.startswith(f"usage: semcachectl {command} ")
    assert "--json" in out and "exit codes:" in out
    assert ctl("help", command) == (code, out, err)
    code, out, err = ctl(command, "--no-such-option")
    assert (code, out) == (64, "") and "--no-such-option" in err


def test_a_wrong_command_line_is_told_as_json_where_that_is_asked_for_behind_it(place):
    ctl = caller(os.path.join(place, "nobody.sock"))
    for arguments in (["ask", "--no-such-option", "-j"], ["-j", "no-such-command"], ["config", "--set", "x", "--json"]):
        code, out, err = ctl(*arguments)
        assert (code, err) == (64, "") and json.loads(out)["error"]["code"] == "USAGE"


def test_what_becomes_of_each_candidate_is_said(make_daemon, upstream, place):
    """The same words where it is explained and where it was decided."""
    daemon = make_daemon(upstream=upstream, decisions={"directory": f"{place}/decisions"},
                         namespace__default={"mode": "shadow"}).start()
    ctl = caller(daemon.socket_path)
    further = "Which sockets have a path?"
    upstream.vectors.near(WORDING, QUESTION, 0.95)
    upstream.vectors.near(further, QUESTION, 0.93)
    assert ctl("add", QUESTION, "One.")[0] == 0 and ctl("add", further, "Two.")[0] == 0
    code, out, err = ctl("lookup", WORDING)
    assert code == 1 and "; shadow; nearest 0.950" in err
    explained, decided = ctl("explain", WORDING)[1], ctl("explain", "--request", re.search(r"request (\d+)", err).group(1))[1]
    assert "would have been served 0.950: " + QUESTION in explained and "(it would have been served)" in decided
    for out in (explained, decided):
        assert re.search(r"0\.950\d* .*would be served +" + re.escape(QUESTION), out), out
        assert re.search(r"(not the nearest|below_threshold) +" + re.escape(further), out), out


def test_a_verdict_that_is_none_is_named(place):
    ctl = caller(os.path.join(place, "nobody.sock"))
    code, out, err = ctl("feedback", "0" * 64, QUESTION, "maybe")
    assert (code, out) == (64, "") and "maybe" in err and "right, wrong, accept or undo" in err
    code, out, err = ctl("feedback", "0" * 64, "right")
    assert (code, out) == (64, "") and "QUESTION" in err


def test_a_mode_of_the_daemons_program_knows_what_every_command_knows(place):
    """--json before and behind it, and an option that is none."""
    ctl = caller(os.path.join(place, "nobody.sock"))
    config, pairs = f"{place}/c.conf", f"{place}/pairs"
    with open(config, "w", encoding="ascii") as file:
        file.write("[redis]\nurl =\n")
    with open(pairs, "w", encoding="ascii") as file:
        file.write("a\tb\t1\n")
    for mode in ("evaluate", "calibrate"):
        code, out, err = ctl(mode, "--no-such-option")
        assert (code, out) == (64, "") and f"{mode}: --no-such-option is no option" in err
        code, out, err = ctl(mode, "--config")
        assert (code, out) == (64, "") and "--config needs a value" in err
    for arguments in (["-j", "evaluate"], ["--json", "evaluate"], ["evaluate", "-j"]):
        code, _out, err = ctl(*arguments, "--config", config, pairs)
        assert code == 78 and "url is empty" in err, err
    code, _out, err = ctl("evaluate", *["x"] * 300)
    assert code == 64 and "words" in err
    code, _out, err = ctl("evaluate", "--store", "--config", config, pairs)
    assert code == 64 and "--comparator" in err


def completed(words):
    """What bash offers for the last of these words."""
    script = (f'source <({program("client/semcachectl")} completion); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
              'COMPREPLY=(); _semcachectl; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    return done.stdout.split()


def test_bash_offers_every_command_and_every_option(place):
    ctl = caller(os.path.join(place, "nobody.sock"))
    listed = re.search(r"commands:\n(.*?)\n\n", ctl("--help")[1], re.DOTALL).group(1)
    names = [line.split()[0] for line in listed.splitlines()]
    assert set(names) <= set(completed(["semcachectl", ""])) and set(COMMANDS) <= set(names)
    for name in names:
        if name in ("completion", "help"):
            continue
        wanted = set(re.findall(r"(?:^  .*?|, )(--[a-z-]+)", ctl(name, "--help")[1], re.MULTILINE))
        assert wanted <= set(completed(["semcachectl", name, "-"])) | {"--help"}, name
    assert completed(["semcachectl", "evaluate", "--mode", "sh"]) == ["shadow"]
    assert completed(["semcachectl", "evaluate", place[:-1]]) != []
