"""One request to the scripted upstream and what is sent back, piece by piece.

Every method that sends may be called from any thread, returns at once, and keeps the order of the calls. Nothing waits for
a time: a test sends the next token when it wants it sent.
"""
import json
import socket
import struct

from .vectors import encode


class Exchange:
    """A received request. `body` is its JSON, `headers` have lower-case names."""

    def __init__(self, server, connection, method, path, headers, raw_body):
        self.server = server
        self.method = method
        self.path = path
        self.headers = headers
        self.raw_body = raw_body
        self.body = json.loads(raw_body) if raw_body else {}
        self.number = 0
        self.answered = False
        self.closed_by_client = False
        self._connection = connection
        self._head_sent = False

    # ---- whole answers ----

    def reply(self, status, body, content_type="application/json", headers=()):
        """A whole response with Content-Length; `body` is bytes, or anything that JSON can hold."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {content_type}", f"content-length: {len(body)}", *headers]
        self.send_bytes("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.end()

    def fail(self, status, message="scripted failure", kind="server_error", headers=()):
        """OpenAI's error object under an HTTP status."""
        self.reply(status, {"error": {"message": message, "type": kind, "code": None}}, headers=headers)

    # ---- pieces ----

    def send_bytes(self, data):
        """Bytes on the connection as they are, HTTP framing included."""
        self.server.run(self._write, data)

    def end(self):
        """The response is whole; the connection waits for the next request."""
        self.server.run(self._end)

    def cut(self):
        """Closes the connection in the middle."""
        self.server.run(self._cut, False)

    def reset(self):
        """Closes the connection with a reset (over TCP; a Unix socket only closes)."""
        self.server.run(self._cut, True)

    # ---- on the server's thread ----

    def _write(self, data):
        if not self._connection.transport.is_closing():
            self._connection.transport.write(data)

    def _end(self):
        self.answered = True
        self.server.changed()
        self._connection.next_request()

    def _cut(self, abruptly):
        transport = self._connection.transport
        self.answered = True
        if abruptly:
            peer = transport.get_extra_info("socket")
            if peer.family != socket.AF_UNIX:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        self.server.changed()

    def connection_lost(self):
        """The connection ended."""
        if not self.answered:
            self.closed_by_client = True
        self.answered = True
        self.server.changed()

    # ---- waiting, from the test's thread ----

    @property
    def is_open(self):
        """Neither answered to the end nor closed."""
        return not self.answered

    def wait_closed_by_client(self):
        """Until the client has closed the connection with the answer incomplete."""
        self.server.wait(lambda: self.closed_by_client, f"the client to close request {self.number} ({self.path})")


class Chat(Exchange):
    """A POST /v1/chat/completions, answered as a stream of server-sent events."""

    @property
    def text(self):
        """The last user message's text."""
        for message in reversed(self.body.get("messages", [])):
            if message.get("role") == "user":
                content = message.get("content")
                if isinstance(content, list):
                    return "".join(part.get("text", "") for part in content if isinstance(part, dict))
                return content or ""
        return ""

    def begin(self):
        """The head and OpenAI's first chunk, which has no text."""
        self._head()
        self.event(self._chunk({"role": "assistant", "content": None}))
        return self

    def token(self, *texts):
        """One event for each text."""
        if not self._head_sent:
            self.begin()
        for text in texts:
            self.event(self._chunk({"content": text}))
        return self

    def finish(self, reason="stop", usage=True, done=True, prompt_tokens=11, completion_tokens=7):
        """The finish reason, the usage if it was asked for, `[DONE]`, and the end of the body."""
        if not self._head_sent:
            self.begin()
        if reason is not None:
            self.event(self._chunk({}, reason))
        if usage and (self.body.get("stream_options") or {}).get("include_usage"):
            chunk = self._chunk(None)
            chunk["choices"] = []
            chunk["usage"] = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
                              "total_tokens": prompt_tokens + completion_tokens}
            self.event(chunk)
        if done:
            self.data(b"data: [DONE]\n\n")
        self.close_body()

    def event(self, value):
        """One server-sent event with `value` as JSON (non-ASCII characters as they are)."""
        self.data(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def data(self, data):
        """Bytes of the body, as one chunk of the transfer coding."""
        self._head()
        self.send_bytes(b"%x\r\n" % len(data) + data + b"\r\n")
        return self

    def close_body(self):
        """The proper end of the body."""
        self._head()
        self.send_bytes(b"0\r\n\r\n")
        self.end()

    def _head(self):
        if not self._head_sent:
            self._head_sent = True
            self.send_bytes(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    def _chunk(self, delta, reason=None):
        return {"id": f"chat-{self.number}", "object": "chat.completion.chunk", "created": 1700000000,
                "model": self.body.get("model", "none"),
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


class Embedding(Exchange):
    """A POST /v1/embeddings."""

    @property
    def texts(self):
        """The input texts."""
        given = self.body.get("input", [])
        return given if isinstance(given, list) else [given]

    @property
    def text(self):
        """All of them, for rules that look for a part of one."""
        return "\n".join(self.texts)

    def answer(self, vectors=None, as_arrays=None):
        """The vectors (default: the service's), in the form that was asked for unless `as_arrays` says which."""
        if vectors is None:
            vectors = [self.server.vectors.of(text) for text in self.texts]
        if as_arrays is None:
            as_arrays = self.server.answers_arrays or self.body.get("encoding_format") != "base64"
        self.reply(200, {
            "object": "list", "model": self.body.get("model", "none"),
            "data": [{"object": "embedding", "index": i, "embedding": list(v) if as_arrays else encode(v)}
                     for i, v in enumerate(vectors)],
            "usage": {"prompt_tokens": len(vectors), "total_tokens": len(vectors)}})
