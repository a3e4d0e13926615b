"""Waiting for what a test has caused, never for a time. The deadline is only reached by a test that fails."""
import os
import select
import time

# Sanitizers on two busy cores are slow; nothing that works comes near this.
DEADLINE_S = float(os.environ.get("SEMCACHE_TEST_DEADLINE_S", "40"))


def eventually(check, what):
    """Calls `check` until it returns something true, and returns that. For states that nothing reports."""
    end = time.monotonic() + DEADLINE_S
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}; last: {result!r}")
        select.select([], [], [], 0.005)
