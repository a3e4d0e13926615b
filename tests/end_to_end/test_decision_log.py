"""The log of decisions: what was served, and why, is told after the entry has expired and the daemon was started anew; it holds no
more than it may, goes with what it is about, and is told live to those who watch."""
import json
import os
import re
import signal
import stat
import subprocess

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S, eventually
from test_semcachectl import caller

FIRST, ASKED, OTHER = "Why is the sky so blue?", "What makes the sky look blue?", "How do I bake a plain bread?"
LONG = 4000


@pytest.fixture
def logging(make_daemon, upstream):
    """A function that makes a daemon with a log, not started: logging(name, redis=, **keys of [decisions])."""
    upstream.vectors.near(ASKED, FIRST, 0.97)

    def make(name="a", redis=None, **keys):
        daemon = make_daemon(name, redis=redis, upstream=upstream)
        daemon.log_directory = os.path.join(daemon.directory, "decisions")
        return daemon.configure("decisions", directory=daemon.log_directory, **keys)
    return make


def log_bytes(daemon):
    """Everything in the files of the log."""
    data = b""
    for name in sorted(os.listdir(daemon.log_directory)):
        try:
            with open(os.path.join(daemon.log_directory, name), "rb") as file:
                data += file.read()
        except FileNotFoundError:  # it was being rewritten
            pass
    return data


def log_size(daemon):
    """Bytes of the files of the log."""
    size = 0
    for name in os.listdir(daemon.log_directory):
        try:
            size += os.stat(os.path.join(daemon.log_directory, name)).st_size
        except FileNotFoundError:  # it has just left
            pass
    return size


def heed_interrupts():
    """In a child: the tests may have been started by something that ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_written(daemon, text):
    """Until the log has `text`."""
    eventually(lambda: os.path.isdir(daemon.log_directory) and text.encode() in log_bytes(daemon), f"{text!r} to be written")


def wait_purged(daemon, text):
    """Until it does not."""
    eventually(lambda: text.encode() not in log_bytes(daemon), f"{text!r} to be purged")


def events(client, request):
    """The events of a watch that have come, in order."""
    client.read_available()
    return [event for _two, method, (number, event) in client.notifications if method == "event" and number == request.id]


def wait_event(client, request, count=1):
    """Until `count` events have come. Returns the last of them."""
    return eventually(lambda: len(found := events(client, request)) >= count and found, f"{count} events")[count - 1]


def start_watch(client, **params):
    """A watch that the daemon knows of."""
    request = client.start("watch", **params)
    client.call("ping")
    assert not request.done, request.error
    return request


# ---- explain --request ----

def test_a_wrong_hit_is_explained_after_its_entry_has_expired_and_a_restart(logging, redis):
    daemon = logging(redis=redis).start()
    client = daemon.client()
    entry = client.ask(FIRST, ttl=3)["entry"]
    hit = client.ask(ASKED)
    assert hit["tier"] == "semantic"
    eventually(lambda: client.lookup(FIRST)["tier"] == client.lookup(ASKED)["tier"] == "miss", "the entry to expire")
    client.fails("show", "NOT_FOUND", entry=entry)
    daemon.restart()
    ctl = caller(daemon.socket_path)

    code, out, err = ctl("explain", "--request", str(hit["request"]), "--json")
    assert code == 0, err
    record = json.loads(out)
    assert (record["request"], record["tier"], record["question"]) == (hit["request"], "semantic", ASKED)
    assert (record["uid"], record["pid"]) == (os.getuid(), os.getpid())
    assert (record["namespace"], record["mode"], record["rule"]) == ("default", "threshold", "plain")
    assert (record["threshold"], record["origin"], record["certificate_ms"]) == (0.9, "default", None)
    assert "numbers" in record["guards_on"] and record["reason"] is None
    served = record["served"]
    assert (served["entry"], served["question"], served["model"]) == (entry, FIRST, "test-model")
    assert served["similarity"] == pytest.approx(0.97, abs=1e-5) and served["created_ms"] <= record["at_ms"]
    [candidate] = record["candidates"]
    assert (candidate["entry"], candidate["question"], candidate["why"], candidate["vetoes"]) == (entry, FIRST, None, [])

    code, out, err = ctl("explain", "--request", str(hit["request"]))
    assert code == 0, err
    for part in (ASKED, FIRST, entry, "similarity 0.97", "threshold 0.9", "from default", "test-model", str(hit["request"])):
        assert part in out, out


def test_what_was_not_served_is_explained(logging, upstream):
    daemon = logging().start()
    client = daemon.client()
    upstream.vectors.near("How much is 20 mg of it?", "How much is 200 mg of it?", 0.98)
    client.ask("How much is 200 mg of it?")
    missed = client.ask("How much is 20 mg of it?")
    assert (missed["tier"], missed["reason"]) == ("upstream", "guard_numbers")
    record = client.call("explain", request=missed["request"])
    assert (record["tier"], record["reason"], record["served"]) == ("upstream", "guard_numbers", None)
    assert record["candidates"][0]["vetoes"] == ["numbers"]
    code, out, _err = caller(daemon.socket_path)("explain", "--request", str(missed["request"]))
    candidate = r"0\.9800  guard_numbers +How much is 200 mg of it\?\n +[0-9a-f]{64}, made .* UTC; vetoed by numbers\n"
    assert code == 0 and re.search(candidate, out), out


def test_a_hit_by_an_alias_is_explained(logging):
    client = logging().start().client()
    entry = client.ask(FIRST)["entry"]
    client.ask(ASKED)
    hit = client.ask(ASKED)
    assert hit["tier"] == "memory"
    record = client.call("explain", request=hit["request"])
    assert (record["tier"], record["served"]["alias"], record["served"]["entry"]) == ("memory", "promoted", entry)


def test_a_request_without_a_decision_is_not_found(logging):
    daemon = logging().start()
    client = daemon.client()
    client.ask(FIRST)
    hit = client.ask(FIRST)
    assert client.fails("explain", "NOT_FOUND", request=hit["request"]).keys["field"] == "request"
    assert client.fails("explain", "INVALID", request=hit["request"], prompt=FIRST).keys["field"] == "request"
    assert client.fails("explain", "INVALID", request=-1).keys["field"] == "request"
    assert client.fails("explain", "INVALID", request=(1 << 53) + 1).keys["field"] == "request"
    ctl = caller(daemon.socket_path)
    assert ctl("explain", "--request", "1")[0] == 1
    assert ctl("explain", "--request", "1", FIRST)[0] == 64
    assert ctl("explain", "--request", "x")[0] == 64


def test_without_a_log_it_is_unavailable(make_daemon, upstream):
    client = make_daemon(upstream=upstream).start().client()
    number = client.ask(FIRST)["request"]
    assert "decisions.directory" in client.fails("explain", "UNAVAILABLE", request=number).text


def test_numbers_of_requests_are_not_used_twice(logging):
    daemon = logging().start()
    before = [daemon.client().ask(FIRST)["request"] for _ in range(3)]
    daemon.restart()
    after = [daemon.client().ask(OTHER)["request"] for _ in range(3)]
    assert max(before) < min(after) and max(after) < 1 << 53


# ---- what is kept ----

def test_the_log_is_only_the_daemons(logging):
    daemon = logging().start()
    daemon.client().ask(FIRST)
    wait_written(daemon, FIRST)
    assert stat.S_IMODE(os.stat(daemon.log_directory).st_mode) == 0o700
    for name in os.listdir(daemon.log_directory):
        assert stat.S_IMODE(os.stat(os.path.join(daemon.log_directory, name)).st_mode) == 0o600


def test_without_texts_none_is_written(logging):
    daemon = logging(texts="off").start()
    client = daemon.client()
    watch = start_watch(client)
    entry = client.ask(FIRST)["entry"]
    hit = client.ask(ASKED)
    record = client.call("explain", request=hit["request"])
    assert record["question"] is None and record["served"]["question"] is None
    assert record["served"]["entry"] == entry and record["candidates"][0]["question"] is None
    assert wait_event(client, watch, 2)["question"] == ASKED
    daemon.stop()
    assert b"blue" not in log_bytes(daemon)
    assert daemon.start().client().call("explain", request=hit["request"])["question"] is None
    code, out, _err = caller(daemon.socket_path)("explain", "--request", str(hit["request"]))
    assert code == 0 and "its text is not kept" in out


def test_whether_texts_are_kept_can_be_changed_while_the_daemon_runs(logging):
    daemon = logging().start()
    client = daemon.client()
    client.ask(FIRST)
    wait_written(daemon, FIRST)
    daemon.configure("decisions", texts="off")
    daemon.write_config()
    assert client.call("reload")["changed"] == ["[decisions] texts"]
    number = client.ask(OTHER)["request"]
    assert client.call("explain", request=number)["question"] is None
    assert OTHER.encode() not in log_bytes(daemon)


def test_the_log_is_bounded(logging):
    daemon = logging(max_bytes="1MiB").start()
    client = daemon.client()
    first = client.ask("Which number is the first?" + " " * LONG)["request"]
    for batch in range(12):
        for request in client.start_all("lookup", [{"prompt": f"Which number is {batch} {i}?" + " " * LONG} for i in range(30)]):
            last = request.wait()["request"]
        eventually(lambda: log_size(daemon) <= 1 << 20, "the log to be bounded")
    assert client.call("explain", request=last)["request"] == last
    client.fails("explain", "NOT_FOUND", request=first)


def test_after_a_kill_what_was_written_is_read(logging):
    daemon = logging().start()
    client = daemon.client()
    numbers = [client.ask(text)["request"] for text in (FIRST, OTHER)]
    wait_written(daemon, OTHER)
    daemon.kill()
    [name] = os.listdir(daemon.log_directory)
    path = os.path.join(daemon.log_directory, name)
    os.truncate(path, os.stat(path).st_size - 10)
    client = daemon.start().client()
    assert client.call("explain", request=numbers[0])["question"] == FIRST
    client.fails("explain", "NOT_FOUND", request=numbers[1])
    number = client.ask(OTHER)["request"]
    assert client.call("explain", request=number)["question"] == OTHER


def test_a_kill_amid_of_traffic_loses_only_the_end(logging):
    daemon = logging().start()
    client = daemon.client()
    written = client.ask(FIRST)["request"]
    wait_written(daemon, FIRST)
    client.start_all("lookup", [{"prompt": f"Is {i} a number?" + " " * LONG} for i in range(200)])
    wait_written(daemon, "a number?")
    daemon.kill()
    client = daemon.start().client()
    assert client.call("explain", request=written)["question"] == FIRST


def test_a_directory_that_cannot_be_used_harms_nobody(logging):
    daemon = logging()
    with open(daemon.log_directory, "w", encoding="ascii"):
        pass
    daemon.start()
    client = daemon.client()
    number = client.ask(FIRST)["request"]
    assert client.ask(ASKED)["tier"] == "semantic"
    eventually(lambda: daemon.counters()["decisions_failures"] >= 2, "it to be tried again")
    assert len([line for line in daemon.lines if "decisions_failed" in line]) == 1
    # What waits is there all the same.
    assert client.call("explain", request=number)["question"] == FIRST
    os.unlink(daemon.log_directory)
    daemon.wait_log("decisions_work_again")
    wait_written(daemon, ASKED)


# ---- what goes with its entry, tag or namespace ----

@pytest.mark.parametrize("selector", ["entry", "question", "tag", "namespace"])
def test_what_is_invalidated_leaves_the_log(logging, redis, selector):
    daemon = logging(redis=redis).start()
    client = daemon.client()
    entry = client.ask(FIRST, tags=["sky"])["entry"]
    hit, other = client.ask(ASKED)["request"], client.ask(OTHER, namespace="elsewhere")["request"]
    wait_written(daemon, OTHER)
    daemon.settle()
    what = {"entry": entry, "question": FIRST, "tag": "sky", "namespace": "default"}[selector]
    client.call("invalidate", **{selector: what})
    client.fails("explain", "NOT_FOUND", request=hit)
    wait_purged(daemon, FIRST)
    wait_purged(daemon, ASKED)
    assert client.call("explain", request=other)["question"] == OTHER
    # The next decision about the same question stays.
    again = client.ask(FIRST)["request"]
    daemon.restart()
    assert daemon.client().call("explain", request=again)["question"] == FIRST


@pytest.mark.parametrize("again", [False, True])
def test_a_purge_by_tag_reaches_records_of_entries_that_have_expired(logging, redis, again):
    daemon = logging(redis=redis).start()
    client = daemon.client()
    client.ask(FIRST, tags=["sky", "colour"], ttl=1)
    hit = client.ask(ASKED)
    if again:  # from memory, by the alias
        hit = client.ask(ASKED)
    assert hit["tier"] == ("memory" if again else "semantic")
    wait_written(daemon, ASKED)
    eventually(lambda: client.lookup(FIRST)["tier"] == "miss", "the entry to expire")
    client.call("invalidate", tag="colour")
    client.fails("explain", "NOT_FOUND", request=hit["request"])


def test_a_dry_run_and_an_overwrite_leave_the_log_alone(logging, redis):
    daemon = logging(redis=redis).start()
    client = daemon.client()
    entry = client.ask(FIRST, tags=["sky"])["entry"]
    hit = client.ask(ASKED)["request"]
    daemon.settle()
    client.call("invalidate", entry=entry, dry_run=True)
    client.call("invalidate", tag="sky", dry_run=True)
    client.add(FIRST, "Rayleigh")
    assert client.call("explain", request=hit)["served"]["entry"] == entry


def test_a_purge_by_tag_reaches_the_log_of_another_daemon(logging, redis):
    one, two = logging("a", redis=redis).start(), logging("b", redis=redis).start()
    there, here = two.client(), one.client()
    here.ask(FIRST, tags=["sky"])
    one.settle()
    hit = eventually(lambda: (r := there.ask(ASKED, cache="only"))["tier"] == "semantic" and r
                     if there.lookup(ASKED)["tier"] == "semantic" else None, "the entry to be followed")
    wait_written(two, ASKED)
    here.call("invalidate", tag="sky")
    wait_purged(two, ASKED)
    wait_purged(two, FIRST)
    there.fails("explain", "NOT_FOUND", request=hit["request"])
    wait_purged(one, FIRST)


@pytest.mark.parametrize("namespace", [None, "default"])
def test_a_flush_empties_the_logs_of_all_daemons(logging, redis, namespace):
    daemons = [logging(name, redis=redis).start() for name in ("a", "b")]
    for daemon, text in zip(daemons, (FIRST, OTHER)):
        daemon.client().ask(text)
        wait_written(daemon, text)
        daemon.settle()
    daemons[0].client().call("flush", **({"namespace": namespace} if namespace else {}))
    for daemon, text in zip(daemons, (FIRST, OTHER)):
        wait_purged(daemon, text)


# ---- watch ----

def test_a_watcher_is_told_each_decision_as_it_is_made(logging):
    daemon = logging().start()
    client, watcher = daemon.client(), daemon.client()
    watch, elsewhere = start_watch(watcher), start_watch(watcher, namespace="elsewhere")
    miss = client.ask(FIRST)
    hit = client.ask(ASKED)
    first, second = wait_event(watcher, watch), wait_event(watcher, watch, 2)
    assert (first["request"], first["tier"], first["reason"]) == (miss["request"], "upstream", "no_candidate")
    assert (second["request"], second["tier"], second["question"]) == (hit["request"], "semantic", ASKED)
    assert second["served"]["question"] == FIRST and "missed" not in second
    client.ask(OTHER, namespace="elsewhere")
    assert wait_event(watcher, elsewhere)["question"] == OTHER
    watch.cancel()
    assert watch.fails("CANCELLED")
    count = len(events(watcher, watch))
    client.ask(FIRST, namespace="elsewhere")
    wait_event(watcher, elsewhere, 2)
    assert len(events(watcher, watch)) == count


def test_a_watch_ends_at_its_time_or_with_its_connection(logging):
    daemon = logging().start()
    assert daemon.client().fails("watch", "TIMEOUT", timeout_ms=10)
    client = daemon.client()
    start_watch(client)
    client.close()
    daemon.wait_idle()
    daemon.client().ask(FIRST)


def test_watching_needs_no_log(make_daemon, upstream):
    daemon = make_daemon(upstream=upstream).start()
    client = daemon.client()
    watch = start_watch(client)
    client.ask(FIRST)
    assert wait_event(client, watch)["question"] == FIRST


def test_so_many_may_watch(logging):
    daemon = logging().start()
    client = daemon.client()
    watches = client.start_all("watch", [{} for _ in range(64)])
    client.call("ping")
    assert client.fails("watch", "BUSY").keys["limit"] == "64"
    watches[0].cancel()
    watches[0].fails("CANCELLED")
    watch = start_watch(client)
    client.ask(FIRST)
    wait_event(client, watch)


def test_a_watcher_that_does_not_read_harms_nobody(logging):
    daemon = logging().start()
    client, deaf, keen = daemon.client(), daemon.client(receive_buffer=4096), daemon.client()
    missed_watch, watch = start_watch(deaf), start_watch(keen)
    count, sent = 0, 300
    for batch in range(sent // 30):
        for request in client.start_all("lookup", [{"prompt": f"Is {batch} {i} heard?" + " " * LONG} for i in range(30)]):
            assert request.wait()["tier"] == "miss"
        count += 30
        wait_event(keen, watch, count)
    assert daemon.counters()["decisions_missed"] > 0
    assert all("missed" not in event for event in events(keen, watch))
    # When it reads again it is told how much it has missed.
    def all_told():
        seen = events(deaf, missed_watch)
        told = sum(event.get("missed", 0) for event in seen)
        if len(seen) + told < sent + 1:
            client.lookup(OTHER) if not told else None
        return seen if told else None
    seen = eventually(all_told, "an event that says what was missed")
    assert 0 < sum(event.get("missed", 0) for event in seen) < sent


def test_a_watcher_does_not_hold_up_the_end(logging):
    daemon = logging().start()
    client = daemon.client()
    watch = start_watch(client)
    daemon.terminate()
    watch.fails("DRAINING")
    assert daemon.wait_exit() == 0
    daemon.process = None


def test_semcachectl_prints_what_it_watches(logging):
    daemon = logging().start()
    client = daemon.client()
    watchers = [subprocess.Popen([program("client/semcachectl"), "watch", *options],
                                 env={**os.environ, "SEMCACHE_SOCKET": daemon.socket_path}, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
                for options in ([], ["--json"])]
    try:
        eventually(lambda: daemon.stats()["gauges"]["in_flight"] == 3, "both to watch")
        number = client.ask(FIRST)["request"]
        client.ask(ASKED)
        first, second = (watchers[0].stdout.readline() for _ in range(2))
        assert str(number) in first and "upstream" in first and first.rstrip().endswith(FIRST)
        assert "semantic" in second and "0.970" in second and f"{FIRST} <- {ASKED}" in second
        assert json.loads(watchers[1].stdout.readline())["question"] == FIRST
        assert json.loads(watchers[1].stdout.readline())["served"]["question"] == FIRST
        for watcher in watchers:
            watcher.send_signal(signal.SIGINT)
            watcher.wait(DEADLINE_S)
        daemon.wait_idle()
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.communicate()
    assert caller(daemon.socket_path)("watch", "--timeout", "0.05") == (0, "", "")
