"""OpenAI's client.chat.completions.create, answered by semcached. Needs only msgpack.
    client = Client()  # or Client("/path/of/semcached.sock")
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "What is a socket?"}])
    print(reply.choices[0].message.content, reply.semcache["tier"])
semcached's own controls (namespace, threshold, ttl, tags, cache, ...) go into extra_body={...}."""
import os
import socket
import sys
import time
from types import SimpleNamespace as Object

import msgpack


class SemcacheError(RuntimeError):
    """What the daemon said: "CODE key=value... : text"."""


class Client:
    def __init__(self, path=None, timeout=300):
        self.path = path or os.environ.get("SEMCACHE_SOCKET") or "/run/semcache/semcached.sock"
        self.timeout = timeout
        self.chat = Object(completions=Object(create=self._create))

    def _create(self, *, messages, model=None, stream=False, timeout=None, extra_body=None, **parameters):
        parameters.pop("stream_options", None)  # the usage always comes
        params = {"messages": messages, "model": model, "parameters": parameters, "stream": stream,
                  "timeout_ms": int((timeout or self.timeout) * 1000), **(extra_body or {})}
        replies = self._ask(params)
        return replies if stream else next(replies)

    def _ask(self, params):  # one connection for each call: threads may share a Client
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(params["timeout_ms"] / 1000 + 1)
            connection.connect(self.path)
            connection.sendall(msgpack.packb([0, 1, "get_or_generate", [params]]))
            unpacker = msgpack.Unpacker()
            while data := connection.recv(65536):
                unpacker.feed(data)
                for kind, *rest in unpacker:
                    if kind == 1 and rest[1]:
                        raise SemcacheError(rest[1])
                    if kind == 1:
                        yield reply(None, rest[2], params["stream"])
                        return
                    yield reply(rest[1][2], {}, True)
        raise SemcacheError("CLOSED : the connection ended before the response")


def reply(text, result, chunk):
    part = Object(role="assistant", content=text if chunk else result["answer"])
    choice = Object(index=0, finish_reason=result.get("finish_reason"), **{"delta" if chunk else "message": part})
    return Object(id=f"semcache-{result.get('request', '')}", object="chat.completion" + ".chunk" * chunk, choices=[choice],
                  created=int(time.time()) - result.get("age", 0), model=result.get("model"), semcache=result,
                  usage=Object(**result["usage"]) if result.get("usage") else None)


if __name__ == "__main__":
    for piece in Client().chat.completions.create(messages=[{"role": "user", "content": sys.argv[1]}], stream=True):
        print(piece.choices[0].delta.content or "\n", end="", flush=True)
