"""The scripted upstream as a process of its own, for tests that stop or kill it: python3 -m upstream --socket PATH."""
import argparse
import signal

from .service import Upstream


def main():
    parser = argparse.ArgumentParser(prog="python3 -m upstream", description=__doc__)
    parser.add_argument("--socket", required=True, help="path of the Unix socket to listen on")
    upstream = Upstream(parser.parse_args().socket).start()
    print(f"ready on port {upstream.port}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    upstream.stop()


main()
