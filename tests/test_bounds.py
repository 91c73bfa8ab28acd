"""What bound a run, as its summary tells."""

import pytest

from tests.conftest import Bench, Simulate


@pytest.mark.parametrize("options", [("--concurrency", "4"), ("--max-concurrency", "4", "--rps", "500")])
def test_a_run_that_always_has_as_many_in_flight_as_it_may_says_so(
    bench: Bench, simulate: Simulate, options: tuple[str, ...]
) -> None:
    gateway = simulate("--latency", "0.3", "--latency-spread", "0")
    bench.prompts(60)
    told = bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--progress", "log", *options)
    assert "bound by requests in flight" in told.stdout
    bound = bench.summary()["this_run"]["lanes"][0]["bound_by"]
    assert max(bound, key=bound.get) == "requests in flight"
    assert 0.8 <= bound["requests in flight"] <= 1.0
