#!/usr/bin/env python3
"""Ask once whether a part answers, or wait until it does. Standard library only.

  probe.py chat|embeddings --url BASE [--unix-socket PATH] [--model NAME] [--key-file FILE] [--wait SECONDS --pid PID]
  probe.py redis|daemon|listener --unix-socket PATH [--wait SECONDS --pid PID]

When all goes well the answer is one line: `model=NAME` of a chat service, `dimensions=N` of an embedder, `PONG` of Redis,
`ok` of a daemon whose parts all answer too, `pid=N` of whoever listens on a socket. A chat service is asked for a stream that is closed at its first piece,
so that the probe costs next to nothing.

What can go wrong is one line on standard error and the exit status: 1 no answer or a wrong one, 3 the service has no
such endpoint or model, 4 it refuses the key, 5 the process PID ended while we waited. Redirects are not followed and
proxies not used, as the daemon does neither. The key never leaves its file but in the request's header.
"""
import argparse
import http.client
import json
import os
import socket
import struct
import sys
import time
import urllib.parse

MAX_ANSWER_BYTES = 4 << 20
HEALTH = b"\x94\x00\x01\xa6health\x91\x80"  # [0, 1, "health", [{}]]
RESPONSE = b"\x94\x01"  # [1, …
STATE = b"\xa5state"  # … "state": …


class Failure(Exception):
    """No good answer: text, and the exit status that tells which kind."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def connect_unix(path, timeout_s):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(path)
    except OSError as failure:
        connection.close()
        raise Failure(f"nothing answers on {path} ({failure.strerror or failure})") from None
    return connection


class Service:
    """A base URL, reached directly or by a Unix socket, with its key."""

    def __init__(self, options):
        self.base = options.url.rstrip("/")
        self.parts = urllib.parse.urlsplit(self.base)
        self.unix_socket = options.unix_socket
        self.timeout_s = options.timeout
        self.headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.parts.scheme not in ("http", "https") or not self.parts.hostname:
            raise Failure(f"{self.base} is not a URL such as https://host/v1")
        if options.key_file:
            with open(options.key_file, encoding="ascii") as file:
                self.headers["Authorization"] = "Bearer " + file.read().strip()

    def request(self, method, path, body=None):
        """Return the open response with status 200; raise Failure with the service's own words otherwise."""
        kind = http.client.HTTPSConnection if self.parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.parts.hostname, self.parts.port, timeout=self.timeout_s)
        if self.unix_socket:
            connection.sock = connect_unix(self.unix_socket, self.timeout_s)
        try:
            connection.request(method, self.parts.path + path, json.dumps(body) if body else None, self.headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as failure:
            raise Failure(f"{self.base} does not answer ({failure or type(failure).__name__})") from None
        if response.status != 200:
            raise Failure(f"{self.base}{path}: HTTP {response.status}{self.explain(response)}",
                          {401: 4, 403: 4, 404: 3, 405: 3, 501: 3}.get(response.status, 1))
        response.connection = connection
        return response

    @staticmethod
    def explain(response):
        try:
            error = json.loads(response.read(65536))["error"]
            text = error["message"] if isinstance(error, dict) else error
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return ""
        return ": " + "".join(letter if letter.isprintable() else " " for letter in str(text))[:200]

    def request_json(self, method, path, body=None):
        try:
            return json.loads(self.request(method, path, body).read(MAX_ANSWER_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as failure:
            raise Failure(f"{self.base}{path} gave no JSON ({failure})") from None


def probe_chat(options):
    service = Service(options)
    model = options.model
    if not model:
        try:
            model = service.request_json("GET", "/models")["data"][0]["id"]
        except (LookupError, TypeError):
            raise Failure(f"{service.base}/models names no model: say which by SEMCACHE_CHAT_MODEL") from None
    response = service.request("POST", "/chat/completions", {
        "model": model, "stream": True, "temperature": 0,
        "messages": [{"role": "system", "content": "Answer in one short sentence."}, {"role": "user", "content": "Hello"}]})
    try:
        while line := response.readline(65536):
            if line.startswith(b"data:") and b'"choices"' in line:
                return f"model={model}"
            if line.startswith(b"data:") and b'"error"' in line:
                break
    except (OSError, http.client.HTTPException):
        pass
    raise Failure(f"{service.base}/chat/completions began no answer")


def probe_embeddings(options):
    service = Service(options)
    body = service.request_json("POST", "/embeddings", {"model": options.model, "input": ["Hello"]})
    try:
        return f"dimensions={len([float(number) for number in body['data'][0]['embedding']])}"
    except (LookupError, TypeError, ValueError):
        raise Failure(f"{service.base}/embeddings gave no vector") from None


def probe_redis(options):
    with connect_unix(options.unix_socket, options.timeout) as connection:
        try:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(200).decode("utf-8", "replace").strip()
        except OSError as failure:
            answer = str(failure)
    if answer != "+PONG":
        raise Failure(f"what listens on {options.unix_socket} does not answer a PING ({answer})")
    return "PONG"


def probe_daemon(options):
    """Ask for the daemon's health. The first `state` in the answer, a short text, is the daemon's own."""
    answer = b""
    with connect_unix(options.unix_socket, options.timeout) as connection:
        try:
            connection.sendall(HEALTH)
            while len(answer.partition(STATE)[2]) < 10 and (data := connection.recv(4096)):
                answer += data
        except OSError:
            pass
    state = answer.partition(STATE)[2]
    if not answer.startswith(RESPONSE) or not state:
        raise Failure(f"what listens on {options.unix_socket} does not tell its health")
    state = state[1:1 + (state[0] & 31)].decode("ascii", "replace")
    if state != "ok":
        raise Failure(f"the daemon says that it is {state}")
    return state




def probe_listener(options):
    with connect_unix(options.unix_socket, options.timeout) as connection:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return f"pid={struct.unpack('3i', credentials)[0]}"


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def main():
    probes = {"chat": probe_chat, "embeddings": probe_embeddings, "redis": probe_redis, "daemon": probe_daemon,
              "listener": probe_listener}
    parser = argparse.ArgumentParser(description="Ask whether a part answers.")
    parser.add_argument("part", choices=probes)
    parser.add_argument("--url")
    parser.add_argument("--unix-socket")
    parser.add_argument("--model")
    parser.add_argument("--key-file")
    parser.add_argument("--timeout", type=float, default=30, help="of one attempt, seconds")
    parser.add_argument("--wait", type=float, default=0, help="ask again for this many seconds")
    parser.add_argument("--pid", type=int, help="stop waiting when this process has ended")
    options = parser.parse_args()
    deadline = time.monotonic() + options.wait
    while True:
        try:
            print(probes[options.part](options))
            return 0
        except Failure as failure:
            if options.pid is not None and not is_running(options.pid):
                return 5
            if time.monotonic() >= deadline:
                print(failure, file=sys.stderr)
                return failure.status
        time.sleep(0.1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(130)
