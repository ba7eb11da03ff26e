"""Tells the heartbeat {{NAME}} of a job that APScheduler runs: the start, success, or what went wrong.

Needs: pip install apscheduler httpx
"""

import asyncio
import functools
import logging
import os
import traceback
import uuid

import httpx
from apscheduler.schedulers.asyncio import AsyncIOScheduler

PING_URL = {{PING_URL}}


async def tell(client, report, run_id, body=""):
    """Sends one ping, with retries. A heartbeat that cannot be told must not fail the job."""
    for attempt in range(5):
        try:
            answer = await client.post(
                f"{PING_URL}/{report}", params={"rid": str(run_id)}, content=body.encode()[-10_000:]
            )
            if answer.status_code not in (408, 429) and answer.status_code < 500:
                answer.raise_for_status()
                return
        except httpx.HTTPStatusError as error:
            logging.warning("heartbeat: %s", error.response.status_code)
            return
        except httpx.TransportError as error:
            logging.warning("heartbeat: %r", error)
        await asyncio.sleep(2**attempt)


def heartbeat(job):
    @functools.wraps(job)
    async def told(*arguments, **named):
        run_id = uuid.uuid4()
        async with httpx.AsyncClient(timeout=10) as client:
            await tell(client, "start", run_id)
            try:
                result = await job(*arguments, **named)
            except BaseException:
                await tell(client, "fail", run_id, traceback.format_exc())
                raise
            await tell(client, "0", run_id)
            return result

    return told


@heartbeat
async def job():
    pass  # your job


async def main():
    scheduler = AsyncIOScheduler()
    scheduler.add_job(job, "cron", hour=3)
    scheduler.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    # httpx logs URLs, and this one is a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(main())
