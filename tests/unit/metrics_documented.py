#!/usr/bin/env python3
"""semcached(8) lists every counter, gauge and latency of `stats` with the text that the daemon has for it, and every event that
the daemon logs under its level; and it lists nothing else.

usage: metrics_documented.py    from anywhere; one finding a line, status 1 if there is one
"""
import pathlib
import re
import sys

DAEMON = pathlib.Path(__file__).resolve().parent.parent.parent / "daemon"
EVENT = re.compile(r'log_write\(\s*[^,]+,\s*LOG_LEVEL_(\w+),\s*(?:\w+ \? )?"([a-z_]+|%s)[ "]')
# What log_write() itself writes, and the one place that chooses between two.
OTHER_EVENTS = {"warning": {"log_lost"}, "info": {"following_redis", "not_following_redis"}}


def table(source, name):
    """{name: text} of an X macro."""
    body = re.search(rf"#define {name}\(X\)((?:[^\n]*\\\n)+[^\n]*)", source)
    return dict(re.findall(r'X\((\w+), "([^"]*)"\)', body.group(1)))


def sections(page):
    """{title of a .Ss: {name: text}}"""
    found = {}
    for block in re.split(r"^\.Ss ", page, flags=re.M)[1:]:
        title, _, rest = block.partition("\n")
        rest = re.split(r"^\.Sh ", rest, flags=re.M)[0]
        found[title] = {name: " ".join(text.replace("\n.El", "").split())
                        for name, text in re.findall(r"^\.It Cm (\w+)\n(.*?)(?=^\.It|\Z)", rest, flags=re.M | re.S)}
    return found


def events():
    """{level: set of events} of all sources."""
    found = {level: set(names) for level, names in OTHER_EVENTS.items()}
    for path in sorted(DAEMON.glob("*.c")):
        source = path.read_text()
        calls = len(re.findall(r"\blog_write\((?!const struct)", source))
        matches = EVENT.findall(source)
        if len(matches) != calls:
            sys.exit(f"{path.name}: {calls} calls of log_write(), {len(matches)} understood")
        for level, event in matches:
            if event != "%s":
                found.setdefault(level.lower(), set()).add(event)
    return found


def main():
    metrics = (DAEMON / "metrics.h").read_text()
    stats = (DAEMON / "admin_stats.c").read_text()
    page = sections((DAEMON / "semcached.8").read_text())
    findings = []
    for title, wanted in (("counters", table(metrics, "METRICS_COUNTERS")), ("gauges", table(stats, "GAUGES")),
                          ("latencies", table(metrics, "METRICS_LATENCIES"))):
        there = page.get(title, {})
        for name, text in wanted.items():
            sentence = text[0].upper() + text[1:] + "."
            if there.get(name) != sentence:
                findings.append(f"semcached(8): {title}: {name} should say: {sentence}")
        findings += [f"semcached(8): {title}: there is no {name}" for name in there if name not in wanted]
    for level, wanted in events().items():
        there = set(page.get(level, {}))
        findings += [f"semcached(8): log, {level}: {event} is missing" for event in sorted(wanted - there)]
        findings += [f"semcached(8): log, {level}: there is no {event}" for event in sorted(there - wanted)]
    print("\n".join(findings) or "everything counted and logged is documented")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
