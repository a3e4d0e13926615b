"""Everything at once, in a random order that is the same each time: whatever happens, each request has exactly one response, and
in the end nothing is left in flight."""
import random

import pytest

from harness.waiting import eventually
from harness.wire import RpcError

QUESTIONS = 12
WORDINGS = 3


class Chaos:
    """Clients, an upstream that does what it likes, and a Redis that comes and goes."""

    def __init__(self, daemon, upstream, redis, seed):
        self.random = random.Random(seed)
        self.daemon, self.upstream, self.redis = daemon, upstream, redis
        self.clients = [daemon.client() for _ in range(12)]
        self.open = []
        self.held = []
        self.counts = {}
        for i in range(QUESTIONS):
            for k in range(1, WORDINGS):
                upstream.vectors.near(self.text(i, k), self.text(i, 0), self.random.choice([0.8, 0.92, 0.97]))
        upstream.when(None, self.serve)

    @staticmethod
    def text(i, k):
        return f"chaotic question {i} in its wording {k}"

    def serve(self, chat):
        """On the upstream's thread: one of the ends an answer can have, at once or when somebody gets round to it."""
        choice = self.random.random()
        if choice < 0.5:
            chat.token("an answer ", "to: ", chat.text).finish()
        elif choice < 0.8:
            chat.token("held ")
            self.held.append(chat)
        elif choice < 0.85:
            chat.fail(self.random.choice([400, 429, 500]))
        elif choice < 0.9:
            chat.token("half").cut()
        else:
            chat.token("cut off").finish(self.random.choice(["length", "content_filter"]))

    def params(self):
        params = {"prompt": self.text(self.random.randrange(QUESTIONS), self.random.randrange(WORDINGS))}
        for key, values in {"threshold": [0.75, 0.9, 0.95], "max_age": [0, 1000], "mode": ["exact"],
                            "timeout_ms": [0, 5, 50, 5000]}.items():
            if self.random.random() < 0.15:
                params[key] = self.random.choice(values)
        return params

    def ask(self, client):
        params = self.params()
        for key, values in {"cache": ["refresh", "no_store", "only"], "ttl": [0, 1, 100], "tags": [["a"], ["a", "b"]],
                            "stream": [True, False]}.items():
            if self.random.random() < 0.25:
                params[key] = self.random.choice(values)
        self.open.append(client.start("get_or_generate", **params))

    def lookup(self, client):
        self.open.append(client.start("lookup", **self.params()))

    def add(self, client):
        self.open.append(client.start("add", prompt=self.params()["prompt"], answer="added", tags=["b"]))

    def remove(self, client):
        what = self.random.choice([{"question": self.params()["prompt"]}, {"tag": "a"}, {"tag": "b"}, {"entry": "0" * 64}])
        self.open.append(client.start("invalidate", **what))

    def flush(self, client):
        self.open.append(client.start("flush", **self.random.choice([{}, {"namespace": "default"}])))

    def look(self, client):
        self.open.append(client.start(self.random.choice(["list", "stats", "health", "ping", "config"])))

    def cancel(self, client):
        if self.open:
            self.random.choice(self.open).cancel()

    def leave(self, client):
        client.close()
        self.open = [request for request in self.open if request.client is not client]
        self.clients[self.clients.index(client)] = self.daemon.client()

    def read(self, client):
        client.call("ping")
        assert not client.closed and not client.orphans
        self.open = [request for request in self.open if not request.done]

    def answer(self, client):
        if self.held:
            chat = self.held.pop(self.random.randrange(len(self.held)))
            chat.token("and released").finish()

    def trouble(self, client):
        if self.redis.frozen:
            self.redis.thaw()
        else:
            self.redis.freeze()

    def run(self, steps):
        actions = {self.ask: 50, self.lookup: 10, self.add: 5, self.remove: 5, self.flush: 1, self.look: 3, self.cancel: 10,
                   self.leave: 3, self.read: 20, self.answer: 15, self.trouble: 1}
        for action in self.random.choices(list(actions), list(actions.values()), k=steps):
            action(self.random.choice(self.clients))

    def end(self):
        """Everybody is answered, and then nothing is left."""
        if self.redis.frozen:
            self.redis.thaw()
        self.upstream.when(None, lambda chat: (chat.token("at last"), chat.finish()))
        while self.held:
            self.answer(None)
        for request in self.open:
            eventually(lambda: self.release() or request.done or request.client.read_available() or request.done, "a response")
            try:
                request.wait()
            except RpcError as error:
                self.counts[error.code] = self.counts.get(error.code, 0) + 1
        for client in self.clients:
            assert client.call("ping") == {}
            assert not client.orphans
        self.daemon.wait_part("redis", "up")
        eventually(lambda: self.release() or self.daemon.stats()["gauges"]["flights"] == 0, "the flights to end")
        self.daemon.wait_idle()

    def release(self):
        """What was held after all had been released."""
        while self.held:
            self.answer(None)


@pytest.mark.parametrize("seed", [1, 2, 3, *[pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 40)]])
def test_chaos(make_daemon, redis, upstream, seed):
    daemon = make_daemon(redis=redis, upstream=upstream, server={"max_detached": "4"},
                         upstream__main={"max_transfers": "16"}, memory={"max_bytes": "12KiB"})
    chaos = Chaos(daemon.configure("redis", timeout_ms="100").start(), upstream, redis, seed)
    chaos.run(4000)
    chaos.end()
    counters = daemon.counters()
    for name in ("hits_memory", "hits_semantic", "hits_coalesced", "answers_upstream", "api_failures", "flights_cancelled",
                 "flights_detached", "entries_invalidated", "memory_evictions"):
        assert counters[name] > 0, f"{name}: {counters}"
    assert not chaos.counts.get("INTERNAL"), chaos.counts
