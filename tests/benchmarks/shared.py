"""Four processes on one Redis, as four machines would be: overshoot and use of their limit together, as in sockets."""

from collections.abc import Iterator

from tests.benchmarks.sockets import SECONDS, Case, measured, print_head, print_line

PROCESSES = 4


def main() -> None:
    """Print the table."""
    print(f"\n{PROCESSES} processes on one Redis, {SECONDS:g} s a scene")
    print_head()
    for case in _cases():
        print_line(case, *measured(case))


def _cases() -> Iterator[Case]:
    slow = ("--latency", "0.5", "--latency-spread", "0.5")
    told = {"gateway": slow, "processes": PROCESSES, "on_redis": True}
    yield Case(name="60 requests/s", limit=("--rps", "60"), **told)
    yield Case(name="60 requests/s, one killed", limit=("--rps", "60"), kill_one=True, **told)
    yield Case(name="1,200 requests/min", limit=("--rpm", "1200"), **told)
    tokens = ("--param", "max_tokens=200")
    yield Case(name="10k tokens/s", limit=("--tps", "10k"), client=tokens, **told)
