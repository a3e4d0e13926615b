"""The server of the scripted upstream: plain asyncio on a Unix socket and on loopback, in a thread of its own.

When all goes well a request arrives, becomes an exchange, and the newest rule that matches it says what happens; without a
rule it is answered at once. What the service has received, what is open and what the client closed is there to look at, and
every wait is for an event, with a deadline that only a failing test reaches.
"""
import asyncio
import os
import threading

from .exchange import Chat, Embedding, Exchange
from .vectors import Vectors

DEADLINE_S = 30


def holds(_exchange):
    """Does nothing: the test itself answers."""


def answers(*tokens, reason="stop", **how):
    """A rule: these tokens, then the end (see Chat.finish())."""
    def act(chat):
        chat.token(*tokens)
        chat.finish(reason, **how)
    return act


def fails(status, message="scripted failure", **how):
    """A rule: an HTTP error with OpenAI's error object."""
    return lambda exchange: exchange.fail(status, message, **how)


def answer_to(text):
    """What the service says to `text` without a rule."""
    return f"The answer to <{text[:200]}> is {len(text)}."


class Upstream:
    """Start it, give rules, look at what it received. All methods are for the test's thread unless they say otherwise."""

    def __init__(self, socket_path=None, vectors=None):
        self.socket_path = socket_path
        self.port = 0
        self.vectors = vectors or Vectors()
        self.answers_arrays = False
        self.chats = []
        self.embeddings = []
        self.others = []
        self.connections = 0
        self._rules = []
        self._condition = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._servers = []
        self.open_connections = set()
        self.is_listening = False

    # ---- life ----

    def start(self):
        """Listens. Returns itself."""
        self._thread.start()
        self.listen()
        return self

    def listen(self):
        """Listens (again)."""
        self._wait_for(self._listen())

    def refuse(self):
        """Stops listening and closes what is open: from now on connections are refused."""
        self._wait_for(self._refuse())
        self.wait(lambda: not self.open_connections, "its connections to end")

    def stop(self):
        """Closes everything and ends the thread."""
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    # ---- rules ----

    def when(self, match, act):
        """Chat calls that `match` (part of the last user text, or a function of the exchange; None = all) are given to `act`,
        a function of the exchange that runs on the server's thread."""
        self._rules.insert(0, (Chat, match, act))

    def when_embedding(self, match, act):
        """The same for requests for embeddings; `match` is part of one of the texts."""
        self._rules.insert(0, (Embedding, match, act))

    def when_other(self, match, act):
        """The same for other paths; `match` is part of the path."""
        self._rules.insert(0, (Exchange, match, act))

    def forget_rules(self):
        """Everything is answered at once again."""
        self._rules.clear()

    # ---- looking and waiting ----

    def wait(self, predicate, what):
        """Until `predicate()` holds."""
        with self._condition:
            if not self._condition.wait_for(predicate, DEADLINE_S):
                raise AssertionError(f"the upstream waited in vain for {what}")

    def wait_chat(self, match=None, count=1):
        """Until `count` chat calls that `match` have arrived. Returns the last of them."""
        self.wait(lambda: len(self.chats_of(match)) >= count, f"{count} chat calls ({match!r})")
        return self.chats_of(match)[count - 1]

    def wait_embedding(self, match=None, count=1):
        """The same for requests for embeddings."""
        self.wait(lambda: len(self.embeddings_of(match)) >= count, f"{count} requests for embeddings ({match!r})")
        return self.embeddings_of(match)[count - 1]

    def chats_of(self, match=None):
        """The chat calls so far that `match`, in the order of their arrival."""
        return [chat for chat in list(self.chats) if matches(chat, match)]

    def embeddings_of(self, match=None):
        """The requests for embeddings so far that `match`."""
        return [embedding for embedding in list(self.embeddings) if matches(embedding, match)]

    @property
    def embedded_texts(self):
        """All texts that vectors were asked for, in order."""
        return [text for embedding in list(self.embeddings) for text in embedding.texts]

    def open_exchanges(self):
        """What waits for an answer."""
        return [exchange for exchange in [*self.chats, *self.embeddings, *self.others] if exchange.is_open]

    # ---- what exchanges use ----

    def run(self, function, *arguments):
        """Runs `function` on the server's thread, after what was given before. From any thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def changed(self):
        """Wakes those who wait. From any thread."""
        with self._condition:
            self._condition.notify_all()

    # ---- on the server's thread ----

    def _wait_for(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE_S)

    async def _listen(self):
        self.is_listening = True
        how = {"backlog": 4096}
        if self.socket_path:
            if os.path.exists(self.socket_path):
                os.unlink(self.socket_path)
            self._servers.append(await self._loop.create_unix_server(self._connection, self.socket_path, **how))
        self._servers.append(await self._loop.create_server(self._connection, "127.0.0.1", self.port, **how))
        self.port = self._servers[-1].sockets[0].getsockname()[1]

    async def _refuse(self):
        self.is_listening = False
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self.socket_path and os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        for connection in list(self.open_connections):
            connection.transport.abort()

    def _connection(self):
        return Connection(self)

    def accept(self, connection, method, path, headers, body):
        """One request arrived. Returns its exchange, which may be over already. On the server's thread."""
        kind, received = Exchange, self.others
        if method == "POST" and path == "/v1/chat/completions":
            kind, received = Chat, self.chats
        elif method == "POST" and path == "/v1/embeddings":
            kind, received = Embedding, self.embeddings
        exchange = kind(self, connection, method, path, headers, body)
        exchange.number = len(received)
        connection.exchange = exchange
        with self._condition:
            received.append(exchange)
            self._condition.notify_all()
        for rule_kind, match, act in self._rules:
            if rule_kind is kind and matches(exchange, match):
                act(exchange)
                return
        self._answer(exchange)

    def _answer(self, exchange):
        if isinstance(exchange, Chat):
            words = answer_to(exchange.text).split(" ")
            exchange.token(*[word if i == 0 else " " + word for i, word in enumerate(words)])
            exchange.finish()
        elif isinstance(exchange, Embedding):
            exchange.answer()
        elif exchange.path == "/v1/models" and exchange.method == "GET":
            exchange.reply(200, {"object": "list", "data": [{"id": "test-model", "object": "model"}]})
        elif exchange.path == "/control" and exchange.method == "POST":
            exchange.reply(200, self._control(exchange.body))
        else:
            exchange.fail(404, "no such path", "invalid_request_error")

    def _control(self, order):
        """What a test in another process may say and ask: {"near": [[text, other, similarity], …]}."""
        for text, other, similarity in order.get("near", []):
            self.vectors.near(text, other, similarity)
        return {"chats": len(self.chats), "embeddings": len(self.embeddings)}


def matches(exchange, match):
    """Whether `match` (None, a part of the text, or a function) holds for `exchange`."""
    if match is None:
        return True
    if callable(match):
        return match(exchange)
    return match in getattr(exchange, "text", exchange.path)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: requests with Content-Length, one after the other."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.transport = None
        self.exchange = None
        self._received = bytearray()

    def connection_made(self, transport):
        self.transport = transport
        if not self.upstream.is_listening:  # accepted in the turn in which that ended
            transport.abort()
            return
        self.upstream.connections += 1
        self.upstream.open_connections.add(self)

    def data_received(self, data):
        self._received += data
        self.next_request()

    def connection_lost(self, _error):
        self.upstream.open_connections.discard(self)
        if self.exchange is not None:
            self.exchange.connection_lost()
        self.upstream.changed()

    def next_request(self):
        """Takes the next request, if it is there whole and the one before is answered."""
        while (self.exchange is None or self.exchange.answered) and not self.transport.is_closing():
            request = read_request(self._received)
            if request is None:
                return
            self.upstream.accept(self, *request)


def read_request(received):
    """Takes one request from the bytes: (method, path, headers, body), or None while it is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    method, path, _version = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, _colon, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    whole = end + 4 + int(headers.get("content-length", 0))
    if len(received) < whole:
        return None
    body = bytes(received[end + 4:whole])
    del received[:whole]
    return method, path, headers, body
