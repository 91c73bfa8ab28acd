"""The baselines, as people write them: `python -m tests.benchmarks.bare aiohttp|httpx IN.jsonl BASE_URL IN_FLIGHT`.

A loop with so many workers on one client, JSONL in and out; no limits, no retries, nothing recorded on the way.
"""

import json
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

Post = Callable[[str, Any], Awaitable[Any]]


@asynccontextmanager
async def _on_aiohttp() -> Any:
    import aiohttp  # noqa: PLC0415 - what the other client imports is not its cost

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(url: str, body: Any) -> Any:
            async with session.post(url, json=body) as reply:
                return await reply.json()

        yield post


@asynccontextmanager
async def _on_httpx() -> Any:
    import httpx  # noqa: PLC0415 - likewise

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:

        async def post(url: str, body: Any) -> Any:
            return (await client.post(url, json=body)).json()

        yield post


async def _ask(client: str, rows: Iterator[str], url: str, in_flight: int) -> list[str]:
    answers: list[str] = []
    async with {"aiohttp": _on_aiohttp, "httpx": _on_httpx}[client]() as post:

        async def work() -> None:
            for line in rows:
                messages = [{"role": "user", "content": json.loads(line)["prompt"]}]
                answer = await post(url, {"model": "org/model", "messages": messages})
                answers.append(json.dumps({"response": answer["choices"][0]["message"]["content"]}))

        async with anyio.create_task_group() as group:
            for _ in range(in_flight):
                group.start_soon(work)
    return answers


if __name__ == "__main__":
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    name, source, base_url, in_flight = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    lines = iter(source.read_text().splitlines())
    asked = anyio.run(_ask, name, lines, f"{base_url}/chat/completions", in_flight)
    source.with_suffix(".bare").write_text("\n".join(asked))
