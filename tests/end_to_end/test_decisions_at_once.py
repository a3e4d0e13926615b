"""Each mode and each of what watches it, while several clients ask, judge and remove, entries expire, and labels are read: what was
said is never forgotten, no rule is broken for a moment, and in the end nothing is left under way."""
import itertools
import json
import subprocess
import threading
import time

import pytest

from harness.daemon import program
from harness.waiting import DEADLINE_S, eventually
from test_judge import is_judge
from test_second_opinion import second
from upstream import answers

__all__ = ["second"]  # a fixture

TOPICS = ["bread", "rust", "whistling", "marble", "tides", "glass"]
LONG_ENOUGH_S = 2.2  # for entries that live a second to end twice
CALIBRATED = {"mode": "calibrated", "score_threshold": "0.93", "margin": "0.5", "margin_floor": "0.6", "minimum": "0.7"}
KINDS = {
    "threshold": {},
    "guards": {"guards": "numbers:on"},
    "calibrated": CALIBRATED,
    "second": {**CALIBRATED, "second_opinion": "on"},
    "shadow": {"mode": "shadow"},
    "audit": {"audit": "1", "audit_calls": "100000"},
    "judge": {"judge": "0.8", "judge_calls": "100000"},
}


def asked(topic, kind):
    """A question, two wordings of it, one in the grey band, and one with another number."""
    return {"own": f"Where is shelf 3 of {topic}?", "near": f"On which wall hangs shelf 3 of {topic}?",
            "also": f"Whereabouts is shelf 3 of {topic}?", "grey": f"What holds shelf 3 of {topic}?",
            "trap": f"Where is shelf 4 of {topic}?"}[kind]


class Traffic:
    """Clients that do everything at once, and what they have seen go wrong."""

    def __init__(self, daemon, kind):
        self.daemon, self.kind = daemon, kind
        self.problems, self.rejected, self.quarantined = [], set(), set()
        self.ends_at = time.monotonic() + LONG_ENOUGH_S

    def check(self, prompt, result, rejected, quarantined):
        """What must hold of any answer, by what had been said before it was asked for."""
        origin = result["original_query"] or prompt
        if not result["answer"].endswith(f"th answer, to: {origin}"):
            self.problems.append(f"{prompt!r} got {result['answer']!r} of {origin!r}")
        if (prompt, origin) in rejected or (origin, prompt) in rejected:
            self.problems.append(f"rejected: {prompt!r} was served {origin!r} by {result['tier']}")
        if result["answer"] in quarantined:
            self.problems.append(f"quarantined: {prompt!r} was served {result['answer']!r} by {result['tier']}")
        if self.kind == "shadow" and origin != prompt:
            self.problems.append(f"shadow: {prompt!r} was served {origin!r}")
        if ("shelf 3" in prompt) != ("shelf 3" in origin):
            self.problems.append(f"numbers: {prompt!r} was served {origin!r}")

    def ask(self, client, prompt):
        rejected, quarantined = set(self.rejected), set(self.quarantined)
        result = client.call("get_or_generate", prompt=prompt, ttl=1, tags=[prompt.split()[-1].strip("?")])
        self.check(prompt, result, rejected, quarantined)
        return result

    def say(self, client, result, prompt, verdict):
        request = client.start("feedback", entry=result["entry"], question=prompt, verdict=verdict, similarity=0.97)
        client.read_until(lambda: request.done, "the verdict")
        if request.error is not None or verdict != "wrong":
            return
        if request.value["rejected"]:
            self.rejected.add((prompt, result["original_query"] or prompt))
        if request.value["quarantined"]:
            self.quarantined.add(result["answer"])

    def work(self, first):
        try:
            client = self.daemon.client()
            n = first
            while time.monotonic() < self.ends_at:
                n += 1
                topic = TOPICS[n % len(TOPICS)]
                own = self.ask(client, asked(topic, "own"))
                for kind in ("near", "also", "grey", "trap"):
                    prompt = asked(topic, kind)
                    result = self.ask(client, prompt)
                    # Of two topics nothing bad is ever said, so that there is always something to serve.
                    # Where an answer is shared in the air, the entry of that name is still the one before it.
                    is_other = (result["original_query"] not in (None, prompt) and result["entry"] and
                                result["tier"] != "coalesced")
                    if is_other and n % 7 == 0 and TOPICS.index(topic) >= 2:
                        self.say(client, result, prompt, "wrong")
                    elif is_other and n % 5 == 0:
                        self.say(client, result, prompt, "right")
                # Not by their question, which would take what was said of it along.
                if n % 11 == 0 and own["entry"]:
                    client.call("invalidate", entry=own["entry"])
                elif n % 17 == 0:
                    client.call("invalidate", tag=topic)
        except Exception as problem:  # the main thread tells it
            self.problems.append(repr(problem))

    def run(self, beside):
        threads = [threading.Thread(target=self.work, args=(i * 3,)) for i in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            beside()
        for thread in threads:
            thread.join()


def calibrate(daemon):
    """Reads the labels while they are written; they are too few, or they do."""
    done = subprocess.run([program("semcached"), "calibrate", "--config", daemon.config_path, "--json",
                           "--max-false-hits-of-hits", "5%"], capture_output=True, text=True, timeout=DEADLINE_S, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode in (0, 1) and "Sanitizer" not in done.stderr, done.stderr
    return json.loads(done.stdout)["labels"]


@pytest.fixture
def make_busy(make_daemon, redis, upstream, second):
    """A function that makes the daemon of one kind."""
    for vectors in (upstream.vectors, second.vectors):
        for topic in TOPICS:
            for kind, similarity in {"near": 0.97, "also": 0.98, "grey": 0.85, "trap": 0.99}.items():
                vectors.near(asked(topic, kind), asked(topic, "own"), similarity)
    numbers = itertools.count()
    upstream.when(None, lambda chat: chat.token(f"the {next(numbers)}th answer, to: {chat.text}").finish())
    upstream.when(is_judge, answers("yes"))

    def make(kind):
        opinion = {"url": "http://second.test/v1", "unix_socket": second.socket_path, "model": "test-second",
                   "timeout_ms": "20000"} if kind == "second" else {}
        return make_daemon(redis=redis, upstream=upstream, namespace__default=KINDS[kind],
                           **({"second_opinion": opinion} if opinion else {})).start()
    return make


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_was_said_is_forgotten(make_busy, kind):
    daemon = make_busy(kind)
    traffic = Traffic(daemon, kind)
    taken = [0]

    def beside():
        taken[0] = max(taken[0], calibrate(daemon))
    traffic.run(beside)
    assert not traffic.problems, traffic.problems[:5]
    eventually(lambda: daemon.stats()["gauges"]["reviews"] == 0, "the reviews to end")
    eventually(lambda: daemon.stats()["gauges"]["flights"] == 0, "the flights to end")
    counters = daemon.counters()
    if kind == "shadow":
        assert counters["hits_semantic"] == 0 and counters["reviews_same"] + counters["reviews_different"] > 0
    else:
        assert traffic.rejected and traffic.quarantined and counters["hits_semantic"] > 0 and counters["feedback_wrong"] > 0 and taken[0] > 0
    assert counters["answers_upstream"] > 4 * len(TOPICS) and counters["entries_invalidated"] > 0
    if kind == "audit":
        assert counters["audit_calls"] > 0 and counters["audit_failures"] == 0
    if kind == "judge":
        assert counters["judge_yes"] > 0 and counters["judge_failures"] == 0
    if kind == "second":
        assert counters["opinions_given"] > 0
    # What was rejected is known after a restart too.
    client = daemon.restart().client()
    for prompt, origin in traffic.rejected:
        result = client.call("get_or_generate", prompt=prompt)
        assert result["original_query"] != origin
