"""The rows: what each measures, beside what, and its goal. A row runs its rounds and gives one line for each measure.

Within a round ours and its peers take turns, so that what else happens on the machine meets both. The ratio is the median of
the rounds' ratios, and its spread is the least and the greatest of them.
"""
import json
import statistics
import time

from parts import IDENTITY, Failed, Missing, commands_of, embedder, identities_of, model, status_kib

KEYS = 256
MISSES = 1000
RIDERS = 100


class Line:
    """One measure of one row."""

    def __init__(self, row, measure, unit, ours, peer=None, peer_name="", goal="", limit=None, kind="ours", note="", best="low"):
        self.row, self.measure, self.unit = row, measure, unit
        self.ours, self.peer, self.peer_name = list(ours), list(peer or []), peer_name
        self.goal, self.limit, self.kind, self.note, self.best = goal, limit, kind, note, best

    def result(self):
        """A dict for the table and for JSON."""
        ratios = [mine / theirs for mine, theirs in zip(self.ours, self.peer) if theirs]
        judged = ratios if self.kind == "ratio" else self.ours
        value = statistics.median(judged) if judged else None
        met = None
        if self.limit is not None and value is not None:
            met = value <= self.limit if self.best == "low" else value >= self.limit
        return {"row": self.row, "measure": self.measure, "unit": self.unit,
                "ours": middle(self.ours), "ours_spread": ends(self.ours),
                "peer_name": self.peer_name, "peer": middle(self.peer), "peer_spread": ends(self.peer),
                "ratio": middle(ratios), "ratio_spread": ends(ratios), "goal": self.goal, "met": met, "note": self.note}


def middle(values):
    """The median, or None."""
    return round(statistics.median(values), 4) if values else None


def ends(values):
    """[least, greatest], or None."""
    return [round(min(values), 4), round(max(values), 4)] if values else None


def cpu_us(run):
    """CPU of the server for each reply."""
    return run["cpu_ns"] / run["replies"] / 1000


def rate(run):
    """Replies a second."""
    return run["replies"] / run["elapsed_ns"] * 1e9


# ---- exact hits from memory ----

def servers_of_answers(machine):
    """Everything that holds KEYS answers of 1 KiB: {name: (process, socket, protocol)}, and what is missing."""
    upstream, upstream_path = machine.upstream()
    servers, missing = {}, []
    process, path = machine.daemon(redis={"url": ""}, upstream_m=model(upstream_path), namespace_default={"mode": "exact"})
    machine.load(path, "semcache", keys=KEYS, count=KEYS)
    machine.stop(upstream)
    servers["ours"] = (process, path, "semcache")
    for name, start in (("redis", lambda: machine.redis("server")), ("memcached", machine.memcached)):
        try:
            process, path = start()
        except Missing as error:
            missing.append(str(error))
            continue
        machine.load(path, name, set=1024, keys=KEYS, count=KEYS)
        servers[name] = (process, path, name)
    return servers, missing


def measure_answers(machine, options, shapes):
    """{shape: {server: [run of each round]}} for shapes of (connections, depth)."""
    servers, missing = servers_of_answers(machine)
    runs = {shape: {name: [] for name in servers} for shape in shapes}
    for _round in range(options.rounds):
        for connections, depth in shapes:
            for name, (process, path, protocol) in servers.items():
                run = machine.load(path, protocol, connections=connections, depth=depth, keys=KEYS, count=10**7,
                                   time_ms=options.time_ms, pid=process.pid)
                runs[connections, depth][name].append(run)
    stats = machine.stats(servers["ours"][1])
    asked = sum(run["replies"] for shape in runs.values() for run in shape["ours"])
    if stats["counters"]["hits_memory"] != asked:
        raise Failed(f"{asked} were asked, but {stats['counters']['hits_memory']} came from memory")
    for process, _path, _protocol in servers.values():
        machine.stop(process)
    return runs, "; ".join(missing)


def beside(row, measure, unit, of, runs, note, goal="", limit=None, best="low"):
    """A line beside Redis, with the goal, and one beside memcached."""
    ours = [of(run) for run in runs["ours"]]
    lines = []
    for name in ("redis", "memcached"):
        is_judged = name == "redis"
        peer = [of(run) for run in runs.get(name, [])]
        missing = note if name in note else ""
        lines.append(Line(row, measure, unit, ours, peer, name if peer else f"no {name}", goal if is_judged else "",
                          limit if is_judged else None, "ratio", missing, best))
    return lines


def row_exact(machine, options):
    """An exact hit from memory, one request at a time."""
    runs, note = measure_answers(machine, options, [(1, 1), (50, 1)])
    lines = []
    for connections, p50 in ((1, 1.0), (50, 1.05)):
        of = runs[connections, 1]
        what = f"{connections} connection{'s' if connections > 1 else ''}"
        lines += beside("exact", f"CPU a request, {what}", "us", cpu_us, of, note, "<= 0.9 x redis", 0.9)
        lines += beside("exact", f"p50, {what}", "us", lambda run: run["latency"]["p50_us"], of, note, f"<= {p50} x redis", p50)
        lines.append(Line("exact", f"load generator's CPU, {what}", "us",
                          [run["own_cpu_ns"] / run["replies"] / 1000 for run in of["ours"]],
                          [run["own_cpu_ns"] / run["replies"] / 1000 for run in of.get("redis", [])], "redis"))
    return lines


def row_pipelined(machine, options):
    """The same, 32 requests in a batch."""
    runs, note = measure_answers(machine, options, [(1, 32), (50, 32)])
    lines = []
    for connections, least in ((1, 2.0), (50, 1.25)):
        of = runs[connections, 32]
        what = f"{connections} connection{'s' if connections > 1 else ''}"
        lines += beside("pipelined", f"requests a second, {what}", "1/s", rate, of, note, f">= {least} x redis", least, "high")
        lines += beside("pipelined", f"CPU a request, {what}", "us", cpu_us, of, note)
    return lines


# ---- exact hits from Redis ----

def row_redis(machine, options):
    """An exact hit that must go to Redis, beside a bare relay of the same commands."""
    redis, redis_path = machine.redis()
    upstream, upstream_path = machine.upstream()
    process, path = machine.daemon(redis={"url": f"unix:{redis_path}"}, memory={"max_bytes": 0},
                                   upstream_m=model(upstream_path), namespace_default={"mode": "exact"})
    machine.load(path, "semcache", keys=KEYS, count=KEYS)
    commands = commands_of(redis_path, lambda: machine.load(path, "semcache", count=1))
    commands_path, ids_path, relay_path = machine.path("commands"), machine.path("ids"), machine.path("relay")
    with open(commands_path, "w", encoding="ascii") as file:
        file.writelines(IDENTITY.sub("%ID%", " ".join(words)) + "\n" for words in commands)
    with open(ids_path, "w", encoding="ascii") as file:
        file.writelines(identity + "\n" for identity in identities_of(redis_path, KEYS))
    relay = machine.start("server", [machine.program("tests/bench/bench_relay"), relay_path, redis_path, commands_path, ids_path])
    machine.wait_socket(relay_path, relay)
    ours, peer = {1: [], 50: []}, {1: [], 50: []}
    for _round in range(options.rounds):
        for connections in (1, 50):
            common = {"connections": connections, "keys": KEYS, "count": 10**7, "time_ms": options.time_ms}
            ours[connections].append(machine.load(path, "semcache", pid=process.pid, **common))
            peer[connections].append(machine.load(relay_path, "memcached", pid=relay.pid, **common))
    stats = machine.stats(path)
    asked = 1 + sum(run["replies"] for runs in ours.values() for run in runs)
    if stats["counters"]["hits_exact"] != asked:
        raise Failed(f"{asked} were asked, but {stats['counters']['hits_exact']} came from Redis")
    for each in (process, relay, upstream, redis):
        machine.stop(each)
    note = "commands: " + ", ".join(words[0] for words in commands)
    lines = []
    for connections in (1, 50):
        what = f"{connections} connection{'s' if connections > 1 else ''}"
        lines.append(Line("redis", f"daemon CPU a request, {what}", "us", map(cpu_us, ours[connections]),
                          map(cpu_us, peer[connections]), "relay", "<= 1.3 x relay", 1.3, "ratio", note))
        lines.append(Line("redis", f"p50, {what}", "us", [run["latency"]["p50_us"] for run in ours[connections]],
                          [run["latency"]["p50_us"] for run in peer[connections]], "relay"))
    return lines


# ---- misses ----

def ask_misses(machine, mode, redis_path, first):
    """A fresh daemon is asked MISSES different questions at once. Returns what was seen."""
    upstream, upstream_path = machine.upstream(delay_ms=1000)
    config = {"embedder": embedder(upstream_path)} if mode == "threshold" else {}
    process, path = machine.daemon(redis={"url": f"unix:{redis_path}" if redis_path else ""}, upstream_m=model(upstream_path),
                                   namespace_default={"mode": mode}, **config)
    rss = status_kib(process.pid, "VmRSS")
    run = machine.load(path, "semcache", connections=50, depth=MISSES // 50, keys=MISSES, first_key=first, count=MISSES,
                       pid=process.pid)
    highest = status_kib(process.pid, "VmHWM")
    stats = machine.stats(path)
    machine.stop(process)
    seen = json.loads(machine.stop(upstream))
    if seen["finished"] != MISSES or stats["counters"]["answers_upstream"] != MISSES:
        raise Failed(f"the upstream was asked {seen['finished']} times, {stats['counters']['answers_upstream']} came from it")
    return {"seconds": run["elapsed_ns"] / 1e9, "kib": (highest - rss) / MISSES, "cpu_us": cpu_us(run),
            "loop": stats["latencies"]["loop"], "at_once": seen["most_at_once"]}


def ask_bare(machine, first):
    """The bare program asks the same upstream as many questions."""
    upstream, upstream_path = machine.upstream(delay_ms=1000)
    run = machine.finish(machine.start("server", [machine.program("tests/bench/bench_chats"), upstream_path, str(MISSES), str(first)],
                                       stdout=-1, stderr=-1))
    machine.stop(upstream)
    return {"seconds": run["elapsed_ns"] / 1e9, "cpu_us": run["cpu_ns"] / MISSES / 1000}


def row_misses(machine, options):
    """1,000 different questions at once, none of them known, and the loop meanwhile."""
    try:
        redis, redis_path = machine.redis()
    except Missing:
        redis = redis_path = None
    semantic, exact, bare = [], [], []
    for number in range(options.rounds):
        semantic.append(ask_misses(machine, "threshold", redis_path, 2 * number * MISSES))
        exact.append(ask_misses(machine, "exact", redis_path, (2 * number + 1) * MISSES))
        bare.append(ask_bare(machine, 2 * number * MISSES))
    if redis:
        machine.stop(redis)
    note = "" if redis_path else "without Redis: redis-server is not installed"
    at_once = f"{min(run['at_once'] for run in semantic)} at once at the upstream"
    loops = [run["loop"] for run in semantic]
    return [
        Line("misses", "all answered, by meaning", "s", [run["seconds"] for run in semantic], goal="<= 1.6 s", limit=1.6,
             note=note or at_once),
        Line("misses", "all answered, mode exact", "s", [run["seconds"] for run in exact], [run["seconds"] for run in bare],
             "curl multi", "<= 1.3 x bare", 1.3, "ratio", note),
        Line("misses", "CPU a miss, by meaning", "us", [run["cpu_us"] for run in semantic]),
        Line("misses", "CPU a miss, mode exact", "us", [run["cpu_us"] for run in exact], [run["cpu_us"] for run in bare], "curl multi"),
        Line("misses", "RSS a flight, by meaning", "KiB", [run["kib"] for run in semantic], goal="<= 40 KiB", limit=40,
             note="highest RSS less that before, clients' buffers included"),
        Line("misses", "RSS a flight, mode exact", "KiB", [run["kib"] for run in exact], goal="<= 40 KiB", limit=40),
        Line("loop", "p99.9 of a turn, by meaning", "ms", [loop["p999_us"] / 1000 for loop in loops], goal="<= 2 ms", limit=2,
             note="thread CPU between polls, since the start"),
        Line("loop", "longest turn, by meaning", "ms", [loop["max_us"] / 1000 for loop in loops]),
        Line("loop", "p99.9 of a turn, mode exact", "ms", [run["loop"]["p999_us"] / 1000 for run in exact], goal="<= 2 ms", limit=2),
        Line("loop", "longest turn, mode exact", "ms", [run["loop"]["max_us"] / 1000 for run in exact]),
    ]


def row_latency(machine, options):
    """What a miss takes beyond the model's and the embedder's own time, one question at a time."""
    try:
        redis, redis_path = machine.redis()
    except Missing:
        redis = redis_path = None
    upstream, upstream_path = machine.upstream(stamp=True, tokens=4, token_bytes=256, gap_ms=1)
    count = 100 if options.quick else 300
    lines, found = [], {}
    for mode in ("threshold", "exact"):
        config = {"embedder": embedder(upstream_path)} if mode == "threshold" else {}
        process, path = machine.daemon(redis={"url": f"unix:{redis_path}" if redis_path else ""},
                                       upstream_m=model(upstream_path), namespace_default={"mode": mode}, **config)
        found[mode] = (process, path, [])
    for number in range(options.rounds):
        for place, (_process, path, runs) in enumerate(found.values()):
            # Different questions for each daemon, since they share Redis.
            runs.append(machine.load(path, "semcache", count=count, keys=count, first_key=(2 * number + place) * count,
                                     stamped=True))
    for mode, (process, path, runs) in found.items():
        if machine.stats(path)["counters"]["answers_upstream"] != options.rounds * count:
            raise Failed("not every answer came from the upstream")
        name = "by meaning" if mode == "threshold" else "mode exact"
        for measure, key in (("first token", "added_first"), ("end", "added_end")):
            lines.append(Line("latency", f"added to a miss, {measure}, {name}", "ms", [run[key]["p50_us"] / 1000 for run in runs],
                              goal="median <= 1 ms", limit=1))
        machine.stop(process)
    machine.stop(upstream)
    if redis:
        machine.stop(redis)
    lines[0].note = "connecting to the upstream included" if redis_path else "without Redis: redis-server is not installed"
    return lines


# ---- streaming, idle ----

def row_streaming(machine, options):
    """A token of one model call reaches 100 callers."""
    tokens = 50 if options.quick else 200
    upstream, upstream_path = machine.upstream(stamp=True, tokens=tokens, token_bytes=64, gap_ms=10, delay_ms=300)
    process, path = machine.daemon(redis={"url": ""}, upstream_m=model(upstream_path), namespace_default={"mode": "exact"})
    runs = [machine.load(path, "semcache", connections=RIDERS, count=RIDERS, first_key=number, stamped=True)
            for number in range(options.rounds)]
    machine.stop(process)
    seen = json.loads(machine.stop(upstream))
    if seen["chats"] != options.rounds or any(run["token"]["count"] != RIDERS * tokens for run in runs):
        raise Failed(f"{seen['chats']} chats for {options.rounds} questions, or tokens were lost")
    return [Line("streaming", f"p99 from the upstream's write to {RIDERS} reads", "ms", [run["token"]["p99_us"] / 1000 for run in runs],
                 goal="<= 1 ms", limit=1, note="the load generator reads all of them, one after the other"),
            Line("streaming", "p50 of the same", "ms", [run["token"]["p50_us"] / 1000 for run in runs]),
            Line("streaming", "longest", "ms", [run["token"]["max_us"] / 1000 for run in runs])]


def row_idle(machine, options):
    """A daemon with Redis and an embedder that has answered once, and how soon it did."""
    try:
        redis, redis_path = machine.redis()
    except Missing:
        redis = redis_path = None
    upstream, upstream_path = machine.upstream()
    dirty, rss, first = [], [], []
    for _round in range(options.rounds):
        for start_first in (False, True):
            waiting = machine.load_start(machine.directory + f"/{machine.number + 1}.semcached", "semcache", patience_ms=10000,
                                         count=1) if start_first else None
            if waiting:
                time.sleep(0.05)  # until it tries to connect; being late would only show a longer time
            begun_ns = time.monotonic_ns()
            process, path = machine.daemon(wait=not start_first, redis={"url": f"unix:{redis_path}" if redis_path else ""},
                                           embedder=embedder(upstream_path), upstream_m=model(upstream_path))
            if waiting:
                first.append((machine.finish(waiting)["first_reply_ns"] - begun_ns) / 1e6)
            else:
                machine.load(path, "semcache", count=1)
                dirty.append(status_kib(process.pid, "Private_Dirty") / 1024)
                rss.append(status_kib(process.pid, "Rss") / 1024)
            machine.stop(process)
    for each in [upstream] + ([redis] if redis else []):
        machine.stop(each)
    note = "" if redis_path else "without Redis: redis-server is not installed"
    return [Line("idle", "Private_Dirty", "MiB", dirty, goal="<= 4 MiB", limit=4, note=note),
            Line("idle", "RSS", "MiB", rss),
            Line("idle", "start to first answer", "ms", first, goal="<= 50 ms", limit=50)]


ROWS = {"exact": row_exact, "pipelined": row_pipelined, "redis": row_redis, "misses": row_misses, "loop": row_misses,
        "latency": row_latency, "streaming": row_streaming, "idle": row_idle}
