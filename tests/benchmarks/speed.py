"""What a row costs, from file to recorded answer, beside what people write by hand: in turns, in one run.

CPU is that of the whole client process, start-up included, in microseconds a row; the share is of the bare aiohttp
loop's rows per second in the same scene. Machines differ, and so do days: quote the shares.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.gateways import ENVIRONMENT, NGINX, ROOT, gateway

CLIENTS = ("batchrunner", "aiohttp", "httpx")
HEADER = "answers   in flight  latency    rows  client        CPU us/row    rows/s  of aiohttp's"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`characters`: of an answer; `slow_disk`: what a commit takes longer, in seconds. httpx asks for a tenth of the
    rows, and is left out where it would take minutes."""

    characters: int = 100
    in_flight: int = 64
    latency: float = 0.0
    rows: int = 20_000
    turns: int = 3
    httpx: bool = True
    slow_disk: float = 0.0

    def words(self) -> str:
        """As the table names it."""
        size = f"{self.characters // 1000} KB" if self.characters >= 1000 else f"{self.characters} B"
        disk = f"  (commits take {1000 * self.slow_disk:.0f} ms longer)" if self.slow_disk else ""
        return f"{size:<10}{self.in_flight:>9}  {self.latency:>5.0f} s  {self.rows:>6}{disk}"


SCENES = (
    Scene(),
    Scene(characters=16_000, rows=5_000),
    Scene(characters=200_000, rows=1_000),
    Scene(slow_disk=0.005, httpx=False),
    Scene(slow_disk=0.010, httpx=False),
    Scene(in_flight=1_000, latency=1.0, rows=5_000, turns=1),
    Scene(in_flight=4_000, latency=2.0, rows=40_000, turns=1, httpx=False),
    Scene(in_flight=10_000, latency=2.0, rows=40_000, turns=1, httpx=False),
)


def main(scenes: tuple[Scene, ...] = SCENES) -> None:
    """Print the table."""
    server = "nginx" if NGINX else "a loop of our own, as nginx is not here"
    print(f"\nSpeed: medians of the turns; without latency the gateway is {server}\n{HEADER}")
    for scene in scenes:
        print(scene.words())
        with gateway(scene.characters, scene.latency, 0.3) as base_url, tempfile.TemporaryDirectory() as name:
            _print(scene, _measured(scene, base_url, Path(name)))


def _measured(scene: Scene, base_url: str, folder: Path) -> dict[str, tuple[float, float]]:
    """CPU microseconds a row, and rows per second, by client."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for _ in range(scene.turns):
        for client in CLIENTS if scene.httpx else CLIENTS[:-1]:
            rows = scene.rows // 10 if client == "httpx" else scene.rows
            cpu, wall = _run(_command(client, scene, base_url, _input(folder, rows)))
            seen.setdefault(client, []).append((1e6 * cpu / rows, rows / wall))
    return {client: (median(cpu for cpu, _ in all_), median(pace for _, pace in all_)) for client, all_ in seen.items()}


def _print(scene: Scene, seen: dict[str, tuple[float, float]]) -> None:
    for client, (cpu, pace) in seen.items():
        if scene.latency:
            share = f"{scene.in_flight / scene.latency / pace:.2f} x ideal wall"
        else:
            share = f"{pace / seen['aiohttp'][1]:.2f}"
        print(f"{'':<36}  {client:<12}  {cpu:>10.0f}  {pace:>8.0f}  {share:>12}", flush=True)


def _input(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.jsonl"
    if not path.exists():
        prompts = ({"prompt": f"Question {number}: ".ljust(100, "x")} for number in range(rows))
        path.write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return path


def _command(client: str, scene: Scene, base_url: str, source: Path) -> list[str]:
    in_flight = str(scene.in_flight)
    if client != "batchrunner":
        return [sys.executable, "-m", "tests.benchmarks.bare", client, str(source), base_url, in_flight]
    begin = ["batchrunner"] if not scene.slow_disk else ["tests.benchmarks.slow_disk", str(scene.slow_disk)]
    options = ["-m", "org/model", "--base-url", base_url, "--concurrency", in_flight, "--rps", "1M", "-q"]
    paths = ["-o", str(source.with_suffix(".out.jsonl")), "--state-dir", str(source.parent / "state")]
    return [sys.executable, "-m", *begin, "run", str(source), *options, *paths, "--resume", "never"]


def _run(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=ENVIRONMENT, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - began
