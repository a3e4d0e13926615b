"""A raw MessagePack-RPC client. It sends what it is told, right or wrong, and believes nothing.

One thread drives it: `start()` sends, the `Request` it returns is a place where chunks and the one response arrive while
somebody reads. Several clients in one test need no threads: what nobody reads waits in the daemon.
"""
import re
import socket
import time

import msgpack

from .waiting import DEADLINE_S

ERROR = re.compile(r"^([A-Z_]+)((?: [a-z_]+=[^ ]+)*) : (.*)$", re.DOTALL)


class RpcError(Exception):
    """An error response: `code`, `keys` (a dict of texts) and `text`, as wire.md says they are written."""

    def __init__(self, wire):
        super().__init__(wire)
        match = ERROR.match(wire)
        assert match, f"an error that is not `CODE key=value… : text`: {wire!r}"
        self.wire = wire
        self.code = match.group(1)
        self.keys = dict(pair.split("=", 1) for pair in match.group(2).split())
        self.text = match.group(3)


class Closed(Exception):
    """The daemon closed the connection."""


class Request:
    """One request: the chunks so far, and the response when it has come."""

    def __init__(self, client, request_id):
        self.client = client
        self.id = request_id
        self.chunks = []
        self.done = False
        self.error = None
        self.value = None

    @property
    def text(self):
        """What was streamed so far."""
        return "".join(text for _seq, text in self.chunks)

    def wait(self):
        """Until the response is there. Returns the result; raises RpcError."""
        self.client.read_until(lambda: self.done, f"the response to {self.id}")
        if self.error is not None:
            raise RpcError(self.error)
        return self.value

    def fails(self, code=None):
        """Until the response is there, which must be an error (with this code). Returns it."""
        try:
            value = self.wait()
        except RpcError as error:
            assert code is None or error.code == code, error.wire
            return error
        raise AssertionError(f"should have failed, but: {value!r}")

    def wait_text(self, text):
        """Until all of `text`, and nothing else, has been streamed."""
        self.client.read_until(lambda: self.done or len(self.text) >= len(text), f"{text!r} of {self.id}, got {self.text!r}")
        assert self.text == text
        return self

    def cancel(self):
        """Sends the cancel notification."""
        self.client.notify("cancel", [self.id])

    @property
    def answer(self):
        """The answer, streamed or not."""
        result = self.wait()
        return self.text if "answer" not in result else result["answer"]


class Client:
    """One connection. `sent_texts` collects what must never be seen in a log."""

    def __init__(self, path, sent_texts=None, receive_buffer=None):
        self.sent_texts = sent_texts if sent_texts is not None else set()
        self.requests = {}
        self.orphans = []
        self.notifications = []
        self.closed = False
        self._next_id = 1
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=0,
                                          unicode_errors="surrogateescape")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def close(self):
        """Goes away without a word."""
        self._socket.close()
        self.closed = True

    def fileno(self):
        return self._socket.fileno()

    # ---- sending ----

    def send_bytes(self, data):
        """Bytes as they are."""
        self._socket.sendall(data)

    def send_message(self, message):
        """Anything as one MessagePack value."""
        self.send_bytes(msgpack.packb(message, use_bin_type=True, unicode_errors="surrogateescape"))

    def half_close(self):
        """Says that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def notify(self, method, arguments):
        """Sends a notification."""
        self.send_message([2, method, arguments])

    def request(self, method, params=None, request_id=None):
        """Prepares a request without sending it: (the request, its bytes)."""
        if request_id is None:
            request_id = self._next_id
            self._next_id += 1
        request = Request(self, request_id)
        self.requests[request_id] = request
        self._remember_texts(params)
        return request, msgpack.packb([0, request_id, method, [] if params is None else [params]], use_bin_type=True,
                                      unicode_errors="surrogateescape")

    def start(self, method, **params):
        """Sends a request. Returns it without waiting."""
        request, data = self.request(method, params)
        self.send_bytes(data)
        return request

    def start_all(self, method, many):
        """Sends a request for each of the maps in one write. Returns them all."""
        made = [self.request(method, params) for params in many]
        self.send_bytes(b"".join(data for _request, data in made))
        return [request for request, _data in made]

    def call(self, method, **params):
        """Sends a request and waits. Returns the result; raises RpcError."""
        return self.start(method, **params).wait()

    def fails(self, method, code=None, **params):
        """Sends a request that must fail (with this code). Returns the RpcError."""
        return self.start(method, **params).fails(code)

    def ask(self, prompt, **params):
        """get_or_generate, waited for."""
        return self.call("get_or_generate", prompt=prompt, **params)

    def start_ask(self, prompt, **params):
        """get_or_generate, not waited for."""
        return self.start("get_or_generate", prompt=prompt, **params)

    def stream(self, prompt, **params):
        """get_or_generate, streamed, not waited for."""
        return self.start("get_or_generate", prompt=prompt, stream=True, **params)

    def lookup(self, prompt, **params):
        """lookup, waited for."""
        return self.call("lookup", prompt=prompt, **params)

    def add(self, prompt, answer, **params):
        """add, waited for."""
        return self.call("add", prompt=prompt, answer=answer, **params)

    # ---- receiving ----

    def read_until(self, predicate, what):
        """Reads messages until `predicate()` holds."""
        end = time.monotonic() + DEADLINE_S
        while not predicate():
            if self.closed:
                raise Closed(f"the connection was closed before {what}")
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise AssertionError(f"waited in vain for {what}") from None
            except ConnectionResetError:
                data = b""
            if not data:
                self.closed = True
                continue
            self._unpacker.feed(data)
            for message in self._unpacker:
                self._take(message)

    def read_all(self):
        """Reads until the daemon closes the connection. Returns responses that belong to no request (errors with id nil)."""
        try:
            self.read_until(lambda: False, "the end")
        except Closed:
            return self.orphans

    def read_available(self):
        """Takes what is there now, without waiting."""
        self._socket.setblocking(False)
        try:
            while data := self._socket.recv(1 << 16):
                self._unpacker.feed(data)
                for message in self._unpacker:
                    self._take(message)
            self.closed = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.closed = True

    def _take(self, message):
        assert isinstance(message, list) and message, f"not a message: {message!r}"
        if message[0] == 2:
            assert len(message) == 3, message
            if message[1] == "chunk":
                self._take_chunk(*message[2])
            else:
                self.notifications.append(message)
            return
        assert message[0] == 1 and len(message) == 4, f"neither a response nor a notification: {message!r}"
        _type, request_id, error, result = message
        assert error is None or isinstance(error, str), f"an error must be nil or one string: {error!r}"
        assert error is None or result is None, f"an error and a result: {message!r}"
        request = self.requests.get(request_id)
        if request is None:
            self.orphans.append(message)
            return
        assert not request.done, f"a second response to {request_id}: {message!r}"
        request.done, request.error, request.value = True, error, result
        del self.requests[request_id]

    def _take_chunk(self, request_id, seq, text):
        request = self.requests.get(request_id)
        assert request is not None, f"a chunk for {request_id}, which is not open"
        assert seq == len(request.chunks), f"chunk {seq} of {request_id} came after {len(request.chunks)} others"
        assert isinstance(text, str), text
        data = text.encode("utf-8")  # fails on half a character
        assert 0 < len(data) <= 16384, len(data)
        request.chunks.append((seq, text))

    def _remember_texts(self, params):
        if not isinstance(params, dict):
            return
        for key in ("prompt", "question", "answer"):
            if isinstance(params.get(key), str):
                self.sent_texts.add(params[key])
        for message in params.get("messages") or []:
            if isinstance(message, dict) and isinstance(message.get("content"), str):
                self.sent_texts.add(message["content"])
