#!/usr/bin/env python3
"""Ask a running daemon a list of questions and show which were answered from where. Needs the package msgpack only.

The questions come from standard input, one a line: part, expectation and question, with tabs between. The part is
`semantic` (asked with --threshold) or `hybrid` (with the daemon's own); the expectation is `miss`, `hit N` (a semantic
hit on the part's question N) or `exact`. With --file the semantic part asks that file's questions instead, one a line,
and there is no other part.

When all goes well: a namespace of its own is opened, each question is asked once and its tier printed, the semantic
part's results are counted, and everything is removed by a flush of that namespace, which says what it removed.

What can go wrong: a question that is answered with an error, or whose answer has no end, is one line, and the exit
status is 1; so it is with --check when an expectation is not met. The daemon's absence is status 69. The namespace is
flushed in each of these cases, and after an interruption too.
"""
import argparse
import json
import secrets
import signal
import socket
import sys

import msgpack

SYSTEM = "Answer in one short sentence."
SHOWN_CHARACTERS = 80
REQUEST_TIMEOUT_S = 180
MAX_MESSAGE_BYTES = 64 << 20
NO_MEANING = ("embedder_unavailable", "search_unavailable")

TEXTS = {
    "en": {
        "semantic": "=== Testing the semantic cache ===",
        "threshold": "(threshold {threshold:.2f}: {source})",
        "question": "question: {}",
        "hit": "✅ semantic hit, similarity={:.3f}",
        "original": "   original question: {}",
        "miss": "❌ semantic miss, best similarity={:.3f}",
        "exact": "✅ exact hit",
        "model": "🤖 calling the model: {}",
        "model_short": "🤖 calling the model",
        "time": "⏱️ model call: {:.2f} s",
        "answer": "answer: {}...",
        "statistics": "=== Statistics ===",
        "counts": "cache hits: {hits}\ncache misses: {misses}\nAPI calls: {api_calls}\nhit rate: {percent:.1f}%",
        "hybrid": "=== Hybrid cache ===\n\nTesting the hybrid cache:",
        "clean": "=== Cleaning up the test data ===",
        "removed": "✅ test data removed ({entries} entries, {aliases} aliases, {vectors} vectors)",
        "degraded": "⚠️ meaning could not be compared: {}",
    },
    "zh": {
        "semantic": "=== 测试语义缓存 ===",
        "threshold": "（阈值 {threshold:.2f}：{source}）",
        "question": "查询: {}",
        "hit": "✅ 语义缓存命中，相似度={:.3f}",
        "original": "   原始问题: {}",
        "miss": "❌ 语义缓存未命中，最高相似度={:.3f}",
        "exact": "✅ 精确缓存命中",
        "model": "🤖 调用LLM API: {}",
        "model_short": "🤖 调用LLM API",
        "time": "⏱️ API调用耗时: {:.2f}秒",
        "answer": "响应: {}...",
        "statistics": "=== 统计信息 ===",
        "counts": "缓存命中: {hits}\n缓存未命中: {misses}\nAPI调用次数: {api_calls}\n命中率: {percent:.1f}%",
        "hybrid": "=== 混合缓存策略 ===\n\n测试混合缓存:",
        "clean": "=== 清理测试数据 ===",
        "removed": "✅ 测试数据已清理（{entries} 条记录，{aliases} 个别名，{vectors} 个向量）",
        "degraded": "⚠️ 无法按语义比较: {}",
    },
}


class Failed(Exception):
    """Something the user must know, in one line; status: the exit status."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


class Daemon:
    """One connection, one request at a time."""

    def __init__(self, path):
        self.path = path
        self.number = 0
        self.unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE_BYTES)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(REQUEST_TIMEOUT_S)
        try:
            self.socket.connect(path)
        except OSError as failure:
            raise Failed(f"no daemon answers on {path} ({failure.strerror or failure})", 69) from None

    def call(self, method, **params):
        """Return the result of one request; raise Failed with the daemon's error, a line that begins with its code."""
        self.number += 1
        try:
            self.socket.sendall(msgpack.packb([0, self.number, method, [params]]))
            while True:
                for message in self.unpacker:
                    if message[0] == 1 and message[1] in (self.number, None):
                        if message[2] is not None:
                            raise Failed(message[2])
                        return message[3]
                data = self.socket.recv(65536)
                if not data:
                    raise Failed("the daemon closed the connection", 69)
                self.unpacker.feed(data)
        except OSError as failure:
            raise Failed(f"the daemon does not answer on {self.path} ({failure})", 69) from None


class Text:
    """Prints for people, in one of the languages."""

    def __init__(self, language):
        self.texts = TEXTS[language]

    def say(self, key, *values, **named):
        print(self.texts[key].format(*values, **named), flush=True)

    def open_part(self, part, threshold, source):
        if part == "hybrid":
            print()
        self.say(part)
        if part == "semantic":
            self.say("threshold", threshold=threshold, source=source)

    def show_question(self, part, question, number, count):
        print(f"\n[{number}/{count}] " if part == "semantic" else "\n", end="")
        self.say("question", question)

    def show_result(self, part, question, result):
        tier = result["tier"]
        if is_exact(result):
            self.say("exact")
        elif tier == "upstream":
            self.say("miss", result.get("best_similarity") or 0.0)
            if result.get("reason") in NO_MEANING:
                self.say("degraded", result["reason"])
            if part == "semantic":
                self.say("model", result["model"])
                self.say("time", result["timing"]["upstream_ms"] / 1000)
            else:
                self.say("model_short")
        else:
            self.say("hit", result["similarity"])
        if tier != "upstream" and result.get("original_query") != question:
            self.say("original", result["original_query"])
        if part == "semantic":
            self.say("answer", " ".join(result["answer"].split())[:SHOWN_CHARACTERS])

    def close_part(self, part, counts, *_):
        if part == "semantic":
            print()
            self.say("statistics")
            self.say("counts", percent=100 * counts["hit_rate"], **counts)

    def show_note(self, note, _):
        print("\n" + note, flush=True)

    def show_removed(self, removed):
        print()
        self.say("clean")
        self.say("removed", **removed)


class Json:
    """Prints for programs: one object a line."""

    @staticmethod
    def put(**fields):
        print(json.dumps(fields, ensure_ascii=False), flush=True)

    def open_part(self, *_):
        pass

    def show_question(self, *_):
        pass

    def show_result(self, part, question, result):
        upstream_ms = result["timing"]["upstream_ms"] if result["tier"] == "upstream" else None
        self.put(part=part, question=question, tier=result["tier"], similarity=result.get("similarity"),
                 original_query=result.get("original_query"), best_similarity=result.get("best_similarity"),
                 best_query=result.get("best_query"), model=result.get("model"), upstream_ms=upstream_ms,
                 answer=result["answer"])

    def close_part(self, part, counts, threshold, source):
        self.put(part=part, stats=dict(counts, threshold=threshold, threshold_from=source))

    def show_note(self, note, fields):
        self.put(part="semantic", note=note, **fields)

    def show_removed(self, removed):
        self.put(part="clean-up", removed=removed)


def is_exact(result):
    return result["tier"] in ("memory", "exact")


def ask(daemon, namespace, question, threshold):
    """Ask one question; return the daemon's result, which has a complete answer."""
    policy = {} if threshold is None else {"threshold": threshold}
    result = daemon.call("get_or_generate", namespace=namespace, parameters={"temperature": 0},
                         messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
                         timeout_ms=1000 * REQUEST_TIMEOUT_S - 5000, **policy)
    if result.get("finish_reason") not in (None, "stop"):
        raise Failed(f"the model's answer to {question!r} has no proper end (finish_reason {result['finish_reason']}), so "
                     "it is not kept: choose another model by SEMCACHE_CHAT_FILE or SEMCACHE_CHAT_URL")
    return result


def count(results):
    misses = sum(result["tier"] == "upstream" for result in results)
    return {"hits": len(results) - misses, "misses": misses, "api_calls": misses,
            "hit_rate": (len(results) - misses) / len(results)}


def is_expected(expectation, result, questions):
    kind, _, number = expectation.partition(" ")
    if kind == "miss":
        return result["tier"] == "upstream"
    if kind == "exact":
        return is_exact(result)
    return result["tier"] in ("semantic", "coalesced") and result["original_query"] == questions[int(number) - 1]


def run_part(daemon, namespace, part, lines, options, output):
    """Ask the questions of a part (pairs of expectation and question) and return their results."""
    threshold = options.threshold if part == "semantic" else None
    source = options.threshold_from if part == "semantic" else "the daemon's default"
    output.open_part(part, threshold, source)
    questions = [question for _, question in lines]
    results, unexpected = [], []
    for number, (expectation, question) in enumerate(lines, 1):
        output.show_question(part, question, number, len(lines))
        result = ask(daemon, namespace, question, threshold)
        output.show_result(part, question, result)
        results.append(result)
        if options.check and not is_expected(expectation, result, questions):
            unexpected.append(f"{question!r} should be: {expectation}, but its tier is {result['tier']}")
    output.close_part(part, count(results), threshold, source)
    if unexpected:
        raise Failed(f"{part} part: " + "; ".join(unexpected))
    return results


def fit_threshold(daemon, namespace, questions, answers, hits):
    """Return the highest threshold at which asking the questions in turn gives this many hits, or None.

    Each question is added under a context of its own, and the later ones are looked up there, which measures every
    pair; then the part is played again on these figures. At most len(questions)² look-ups of vectors already kept.
    """
    cosines = {}
    for first, question in enumerate(questions):
        context = f"fit-{first}"
        daemon.call("add", namespace=namespace, prompt=question, context=context, answer=answers[first])
        for second in range(first + 1, len(questions)):
            found = daemon.call("lookup", namespace=namespace, prompt=questions[second], context=context, threshold=1.0)
            best = found["best_similarity"] if found["tier"] == "miss" else found["similarity"]
            cosines[first, second] = best or 0.0
    for threshold in sorted(set(cosines.values()), reverse=True):
        kept = []
        for number in range(len(questions)):
            if not any(cosines[first, number] >= threshold for first in kept):
                kept.append(number)
        if len(questions) - len(kept) >= hits:
            return threshold
    return None


def suggest_threshold(daemon, namespace, lines, results, output):
    """When fewer questions hit than the list was made for, name the threshold that would have done it."""
    wanted = sum(not expectation.startswith("miss") for expectation, _ in lines)
    if count(results)["hits"] >= wanted:
        return
    fitted = fit_threshold(daemon, namespace, [question for _, question in lines],
                           [result["answer"] for result in results], wanted)
    if fitted is None:
        return
    fitted = int(fitted * 1000) / 1000
    output.show_note(f"At a threshold of {fitted:.3f} there would have been {wanted} hits. That figure is fitted to these "
                     f"{len(lines)} questions: it says nothing about others.", {"fitted_threshold": fitted})


def run(options, parts, output):
    daemon = Daemon(options.socket)
    namespace = "demo-" + secrets.token_hex(6)
    try:
        for part, lines in parts.items():
            results = run_part(daemon, namespace, part, lines, options, output)
            if part == "semantic" and options.fit:
                suggest_threshold(daemon, namespace + "-fit", lines, results, output)
    finally:
        clean_up(options, namespace, output)


def clean_up(options, namespace, output):
    """Remove what was stored, over a new connection: the old one may be waiting for an answer nobody wants any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    daemon = Daemon(options.socket)
    removed = {"entries": 0, "aliases": 0, "vectors": 0}
    for name in [namespace] + [namespace + "-fit"] * options.fit:
        result = daemon.call("flush", namespace=name)
        for kind in removed:
            removed[kind] += result.get(kind, 0)
    output.show_removed(removed)


def read_parts(options):
    """Return {part: [(expectation, question)]}, in order."""
    if options.file:
        try:
            with open(options.file, encoding="utf-8") as file:
                lines = [("miss", line.strip()) for line in file if line.strip()]
        except (OSError, UnicodeDecodeError) as failure:
            raise Failed(f"{options.file}: {getattr(failure, 'strerror', None) or failure}") from None
        if not lines:
            raise Failed(f"{options.file} has no questions: it should have one a line")
        return {"semantic": lines}
    parts = {}
    for line in sys.stdin.buffer.read().decode("utf-8").splitlines():
        part, expectation, question = line.split("\t")
        parts.setdefault(part, []).append((expectation, question))
    if not parts:
        raise Failed("no questions were given")
    return parts


def parse_arguments():
    parser = argparse.ArgumentParser(description="Ask a running daemon a list of questions, and clean up.")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--lang", choices=TEXTS, default="en")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--file", help="questions to ask, one a line")
    parser.add_argument("--threshold", type=float, required=True, help="of the semantic part")
    parser.add_argument("--threshold-from", default="given", metavar="TEXT", help="where that threshold comes from")
    parser.add_argument("--check", action="store_true", help="fail when an expectation is not met")
    parser.add_argument("--fit", action="store_true", help="with too few hits, name the threshold that gives enough")
    return parser.parse_args()


def main():
    options = parse_arguments()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(options, read_parts(options), Json() if options.json else Text(options.lang))
    except Failed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
