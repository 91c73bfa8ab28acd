"""The baseline: a hand-written aiohttp loop, JSONL in and out, no limits, nothing recorded on the way."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import anyio


async def _ask(rows: Iterator[str], base_url: str, in_flight: int) -> list[str]:
    answers: list[str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for line in rows:
                messages = [{"role": "user", "content": json.loads(line)["prompt"]}]
                body = {"model": "org/model", "messages": messages}
                async with session.post(base_url + "/chat/completions", json=body) as reply:
                    answer = await reply.json()
                answers.append(json.dumps({"response": answer["choices"][0]["message"]["content"]}))

        async with anyio.create_task_group() as group:
            for _ in range(in_flight):
                group.start_soon(work)
    return answers


source = Path(sys.argv[1])
asked = anyio.run(_ask, iter(source.read_text().splitlines()), sys.argv[2], int(sys.argv[3]))
source.with_suffix(".bare").write_text("\n".join(asked))
