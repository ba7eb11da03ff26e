"""Tells the heartbeat {{NAME}} of a job: the start, the exit code, what went wrong. Standard library only."""

import contextlib
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid

PING_URL = {{PING_URL}}


def tell(report, run_id, body=""):
    """Sends one ping, with retries. A heartbeat that cannot be told must not fail the job."""
    request = urllib.request.Request(
        f"{PING_URL}/{report}?rid={run_id}", data=body.encode()[-10_000:], method="POST"
    )
    for pause in (1, 2, 4, 8, None):
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except (OSError, ValueError) as error:
            passing = not isinstance(error, urllib.error.HTTPError) or error.code in (408, 429) or error.code >= 500
            print(f"heartbeat: {type(error).__name__}: {error}", file=sys.stderr)
        if pause is None or not passing:
            return
        time.sleep(pause)


@contextlib.contextmanager
def heartbeat():
    run_id = uuid.uuid4()
    tell("start", run_id)
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        code = 0 if code is None else code if isinstance(code, int) else 1
        tell(code & 255, run_id, traceback.format_exc())
        raise
    tell(0, run_id)


if __name__ == "__main__":
    with heartbeat():
        pass  # your job
