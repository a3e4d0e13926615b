#!/usr/bin/env python3
"""Serve one GGUF file on llama.cpp's own OpenAI-compatible HTTP server (package xllamacpp), on a Unix socket or loopback.

When all goes well: the file's digest is compared, if one was given; the server is created, which loads the model; it
answers /health with 503 until it has. SIGTERM ends it within two seconds.

What can go wrong: a file that is missing, is another one than expected or is no model, and a socket somebody else
answers on, are each one line on standard error and exit status 1.
"""
import argparse
import hashlib
import os
import signal
import socket
import stat
import sys

# Before the import, because libgomp reads them when it is loaded: spinning barriers make it 5-10 times slower on busy cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import xllamacpp  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description="Serve a GGUF file over OpenAI's /v1/chat/completions.")
    parser.add_argument("-m", "--model", required=True, help="the GGUF file")
    parser.add_argument("--sha256", help="refuse a file with another digest")
    parser.add_argument("--alias", default="", help="the model's name on the wire")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", metavar="PATH", help="listen on this Unix socket; its name must end in .sock")
    where.add_argument("--port", type=int, help="listen on this port of 127.0.0.1")
    parser.add_argument("--context", type=int, default=4096, help="tokens, of all slots together")
    parser.add_argument("--slots", type=int, default=2, help="answers made at the same time")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--max-tokens", type=int, default=512, help="of one answer, where the request does not say")
    parser.add_argument("--repeat-penalty", type=float, default=1.05,
                        help="where the request does not say; above 1, a small model seldom repeats itself without end")
    options = parser.parse_args()
    if options.socket and (not options.socket.endswith(".sock") or len(os.fsencode(options.socket)) > 107):
        parser.error("the path of the socket must end in .sock and have at most 107 bytes")
    return options


def check_model(path, expected):
    """Exit with a message unless the file is a GGUF file with the expected digest (None: any)."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                sys.exit(f"chat_server: {path} is not a GGUF file")
            file.seek(0)
            if expected and hashlib.file_digest(file, "sha256").hexdigest() != expected:
                sys.exit(f"chat_server: {path} is damaged (its SHA-256 is another one): remove it and install it again")
    except OSError as failure:
        sys.exit(f"chat_server: {path}: {failure.strerror}")


def remove_stale_socket(path):
    """Remove the socket of a server that has ended; exit with a message when one still answers, or it is no socket."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            sys.exit(f"chat_server: {path} exists and is not a socket: choose another path")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
        return
    sys.exit(f"chat_server: another server answers on {path}: stop it, or choose another path")


def describe(options):
    """Return the server's parameters."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    if options.alias:
        parameters.model_alias = {options.alias}
    host = options.socket or "127.0.0.1"
    parameters.hostnames = [host] if isinstance(parameters.hostnames, list) else host
    parameters.port = options.port or 0
    parameters.n_ctx = options.context
    parameters.n_parallel = options.slots
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.n_predict = options.max_tokens
    parameters.sampling.penalty_repeat = options.repeat_penalty
    parameters.n_gpu_layers = 0
    parameters.ui = False
    return parameters


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    check_model(options.model, options.sha256)
    os.umask(0o077)
    if options.socket:
        remove_stale_socket(options.socket)
    try:
        server = xllamacpp.Server(describe(options))
    except Exception as failure:
        sys.exit(f"chat_server: {options.model} could not be served: {failure}")
    print(f"ready {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
