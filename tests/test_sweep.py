"""Sweeps: every row in every variant, so many times; what was answered stays answered when the sweep changes."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Bench, Gateway, Simulate, wait_until
from proxy import Asked, Deed, passes, proxying

GOLDEN = Path(__file__).parent / "golden"
TWO_BY_THREE = {"model": ["acme/a", "acme/b"], "temperature": [0, 0.7, 1]}


def job(
    bench: Bench, gateway: Gateway, sweep: dict[str, Any] | None, *, output: str = "out.jsonl", **request: Any
) -> str:
    """A job file over in.jsonl with this sweep."""
    lines = ['input = "in.jsonl"', f'output = "{output}"', "[gateway]", f'base_url = "{gateway.base_url}"', "[request]"]
    lines += [f"{name} = {written(value)}" for name, value in ({"prompt": "Solve: {{ question }}"} | request).items()]
    if sweep is not None:
        lines += ["[sweep]", *(f"{name} = {written(value)}" for name, value in sweep.items())]
    (bench.folder / "job.toml").write_text("\n".join(lines))
    return "job.toml"


def written(value: Any) -> str:
    """A value as TOML: as in JSON, but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {written(inner)}" for name, inner in value.items()) + " }"
    return json.dumps(value)


def questions(bench: Bench, count: int) -> None:
    """An input of so many questions."""
    bench.write("in.jsonl", *({"id": f"q{number}", "question": f"question {number}"} for number in range(count)))


def asked(gateway: Gateway) -> int:
    """How many requests the gateway has seen."""
    return gateway.ledger()["arrivals"]


def units(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What tells the units of an output apart, in its order."""
    return [(row["row"], row["variant"], row["sample"]) for row in rows]


@contextmanager
def overhearing(gateway: Gateway) -> Iterator[tuple[Gateway, list[Any]]]:
    """A way to the gateway, and the bodies of what is sent on it."""
    bodies: list[Any] = []

    def hear(asked: Asked) -> Deed:
        bodies.append(json.loads(asked.body))
        return passes

    with proxying(gateway.base_url, hear) as proxy:
        yield Gateway(proxy.base_url), bodies


@pytest.fixture
def gateway(simulate: Simulate) -> Gateway:
    """A simulator."""
    return simulate()


def test_every_row_is_asked_in_every_variant_and_the_output_is_in_order(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 7)
    bench.run(job(bench, gateway, TWO_BY_THREE))
    rows = bench.output("out.jsonl")
    names = [f"model={model} temperature={heat}" for model in ("acme/a", "acme/b") for heat in ("0", "0.7", "1")]
    assert units(rows) == [(number, name, 0) for number in range(7) for name in names]
    assert {(row["id"], row["response"]) for row in rows} == {
        (f"q{number}", f"Simulated answer to: Solve: question {number}") for number in range(7)
    }
    assert all(row["variant"].startswith(f"model={row['model']} ") for row in rows)
    assert asked(gateway) == 42
    assert {lane["lane"] for lane in bench.summary("out.jsonl")["this_run"]["lanes"]} == {"acme/a", "acme/b"}


def test_the_summary_has_a_table_of_variants(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 5)
    told = bench.run(job(bench, gateway, TWO_BY_THREE), "--json", "--progress", "log")
    summary = json.loads(told.stdout)
    assert summary["units"] == {"total": 30, "ok": 30, "failed": 0, "pending": 0}
    assert [(one["model"], one["ok"], one["failed"], one["tries"]) for one in summary["variants"]] == [
        (model, 5, 0, 5) for model in ("acme/a", "acme/b") for _ in range(3)
    ]
    used = Counter[str]()
    for row in bench.output("out.jsonl"):
        used[row["variant"]] += row["usage"]["total_tokens"]
    assert {one["variant"]: one["usage"]["total_tokens"] for one in summary["variants"]} == used
    assert all(0 < one["latency_median_s"] < 60 and 0 < one["latency_mean_s"] < 60 for one in summary["variants"])
    assert "model=acme/b temperature=0.7   5       0" in told.stderr


def test_variants_and_samples_that_are_added_just_run(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 4)
    bench.run(job(bench, gateway, None, model="acme/a"))
    first = bench.output("out.jsonl")
    assert units(first) == [(number, None, None) for number in range(4)]

    bench.run(job(bench, gateway, {"model": ["acme/b", "acme/a"]}))
    assert asked(gateway) == 8
    second = bench.output("out.jsonl")
    assert units(second) == [(number, f"model=acme/{name}", 0) for number in range(4) for name in "ba"]
    assert [row["request_id"] for row in second[1::2]] == [row["request_id"] for row in first]

    bench.run(job(bench, gateway, {"model": ["acme/a", "acme/b"], "samples": 4}))
    assert asked(gateway) == 32
    third = bench.output("out.jsonl")
    assert units(third) == [(n, f"model=acme/{name}", k) for n in range(4) for name in "ab" for k in range(4)]
    assert [row["request_id"] for row in third[::8]] == [row["request_id"] for row in first]
    assert [row["request_id"] for row in third[4::8]] == [row["request_id"] for row in second[::2]]
    assert len({row["request_id"] for row in third}) == 32
    bench.run("job.toml")
    assert asked(gateway) == 32


def test_a_parameter_is_known_again_when_it_moves_to_the_sweep(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 3)
    bench.run(job(bench, gateway, None, model="m/m", params={"temperature": 0, "max_tokens": 50}))
    bench.run(job(bench, gateway, {"temperature": [0.5, 0]}, model="m/m", params={"max_tokens": 50}))
    assert asked(gateway) == 6
    assert units(bench.output("out.jsonl"))[:2] == [(0, "temperature=0.5", 0), (0, "temperature=0", 0)]


def test_a_variant_that_was_taken_away_is_not_in_the_output_and_its_answers_stay(
    bench: Bench, gateway: Gateway
) -> None:
    questions(bench, 6)
    bench.run(job(bench, gateway, TWO_BY_THREE))
    whole = (bench.folder / "out.jsonl").read_bytes()
    bench.run(job(bench, gateway, {"temperature": [1, 0.7], "model": ["acme/b"]}))
    rows = bench.output("out.jsonl")
    assert units(rows)[:2] == [(0, "temperature=1 model=acme/b", 0), (0, "temperature=0.7 model=acme/b", 0)]
    assert len(rows) == 12
    summary = bench.summary("out.jsonl")
    assert summary["units"] == {"total": 12, "ok": 12, "failed": 0, "pending": 0}
    assert summary["tries"] == 36  # all that was ever sent
    assert sum(one["tries"] for one in summary["variants"]) == 12
    bench.run(job(bench, gateway, TWO_BY_THREE))
    assert asked(gateway) == 36
    assert (bench.folder / "out.jsonl").read_bytes() == whole


def test_a_variant_that_comes_back_to_another_question_is_drift(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 3)
    bench.run(job(bench, gateway, {"model": ["m/a", "m/b"]}))
    bench.run(job(bench, gateway, {"model": ["m/a"]}))
    bench.run(job(bench, gateway, {"model": ["m/a"]}, system="Be brief."), "--on-drift", "rerun-changed")
    assert asked(gateway) == 9
    back = job(bench, gateway, {"model": ["m/a", "m/b"]}, system="Be brief.")
    told = bench.run(back, code=65).stderr
    assert '3 changed (the first: id "q0"), 0 new, 0 gone' in told
    assert len(bench.output("out.jsonl")) == 3
    bench.run(back, "--on-drift", "rerun-changed")
    assert asked(gateway) == 12
    assert len(bench.output("out.jsonl")) == 6


def test_samples_have_seeds_of_their_own_where_one_is_given(bench: Bench, simulate: Simulate) -> None:
    with overhearing(simulate()) as (gateway, bodies):
        questions(bench, 2)
        bench.run(job(bench, gateway, {"samples": 3}, model="m/m", params={"seed": 7}))
    assert sorted((body["messages"][-1]["content"], body["seed"]) for body in bodies) == [
        (f"Solve: question {number}", seed) for number in range(2) for seed in (7, 8, 9)
    ]
    assert units(bench.output("out.jsonl"))[:3] == [(0, None, 0), (0, None, 1), (0, None, 2)]


def test_what_is_sent_is_what_the_variant_is_called(bench: Bench, simulate: Simulate) -> None:
    with overhearing(simulate()) as (gateway, bodies):
        questions(bench, 1)
        bench.run(job(bench, gateway, TWO_BY_THREE, model="m/m", params={"temperature": 2, "max_tokens": 9}))
    sent = [f"model={body['model']} temperature={body['temperature']}" for body in bodies]
    assert sorted(sent) == [row["variant"] for row in bench.output("out.jsonl")]
    assert {body["max_tokens"] for body in bodies} == {9}
    assert not any("seed" in body or "samples" in body for body in bodies)


def test_prompts_and_system_messages_are_swept_too(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 2)
    long = "Think about this as long as you want to, and then say what it is: {{ question }}"
    sweep = {"prompt": ["Say {{ question }}", long], "system": ["", "Be brief."]}
    bench.run(job(bench, gateway, sweep, model="m/m"))
    rows = bench.output("out.jsonl")
    assert [row["variant"] for row in rows[:4]] == [
        'prompt="Say {{ question }}" system=""',
        'prompt="Say {{ question }}" system="Be brief."',
        'prompt=#2 system=""',
        'prompt=#2 system="Be brief."',
    ]
    assert rows[0]["response"] == "Simulated answer to: Say question 0"
    assert rows[0]["usage"]["prompt_tokens"] < rows[1]["usage"]["prompt_tokens"]


def test_a_killed_sweep_goes_on_without_a_loss_and_without_buying_twice(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    questions(bench, 40)
    name = job(bench, gateway, TWO_BY_THREE | {"samples": 2})
    process = bench.start("run", name)
    wait_until(lambda: gateway.ledger()["paid"] > 150)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = asked(gateway)
    bench.run(name)
    rows = bench.output("out.jsonl")
    assert len(set(units(rows))) == len(rows) == 480
    assert units(rows) == sorted(units(rows))
    in_doubt = bench.summary("out.jsonl")["in_doubt"]
    assert before < 480 <= asked(gateway) <= 480 + in_doubt


def test_limits_hold_for_each_model_of_a_sweep(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "20", "--latency", "0.02")
    questions(bench, 30)
    bench.run(job(bench, gateway, {"model": ["acme/a", "acme/b"]}), "--rps", "20")
    ledger = gateway.ledger()
    assert ledger["outcomes"] == {"ok": 60}
    assert bench.summary("out.jsonl")["units"]["ok"] == 60


def test_the_first_rows_alone_can_be_asked_in_every_variant(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 9)
    name = job(bench, gateway, {"model": ["acme/a", "acme/b"]})
    bench.run(name, "--limit", 3)
    assert (asked(gateway), len(bench.output("out.jsonl"))) == (6, 6)
    bench.run(name)
    assert (asked(gateway), len(bench.output("out.jsonl"))) == (18, 18)


def test_parts_of_a_sweep_are_published_anew_when_it_changes(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 10)
    bench.run(job(bench, gateway, {"model": ["acme/a", "acme/b"]}, output="out/"), "--part-rows", 6)
    bench.run(job(bench, gateway, {"model": ["acme/a", "acme/b"], "samples": 2}, output="out/"))
    assert asked(gateway) == 40
    manifest = json.loads((bench.folder / "out" / "_manifest.json").read_text())
    assert manifest["complete"]
    assert [part["units"] for part in manifest["parts"]] == [6] * 6 + [4]
    rows = [row for part in manifest["parts"] for row in bench.output(f"out/{part['name']}")]
    assert units(rows) == [(n, f"model=acme/{name}", k) for n in range(10) for name in "ab" for k in range(2)]
    bench.run(job(bench, gateway, {"model": ["acme/b"]}, output="out/"))
    assert asked(gateway) == 40
    assert sorted(path.name for path in (bench.folder / "out").iterdir()) == [
        "_manifest.json",
        "part-00000.jsonl",
        "part-00001.jsonl",
    ]


def test_export_and_retry_know_variants(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"question": "fine"}, {"question": "[[status:400]]"})
    bench.run(job(bench, gateway, {"model": ["acme/a", "acme/b"]}), code=1)
    before = asked(gateway)
    retried = bench.start("retry", "out.jsonl", "--where", "variant=model=acme/b")
    retried.communicate(timeout=100)
    assert retried.returncode == 1
    assert asked(gateway) == before + 1
    exported = bench.start("export", "out.jsonl", "-o", "all.parquet")
    exported.communicate(timeout=100)
    table = pq.read_table(bench.folder / "all.parquet").to_pylist()
    assert units(table) == [(n, f"model=acme/{name}", 0) for n in range(2) for name in "ab"]
    status = bench.start("status", "out.jsonl", "--json")
    assert json.loads(status.communicate(timeout=100)[0])["units"]["total"] == 4


def test_rows_with_a_body_can_be_sampled_and_nothing_else(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    body = {"model": "m/m", "seed": 3, "messages": [{"role": "user", "content": "x"}]}
    bench.write("in.jsonl", {"custom_id": "a", "body": body})
    with overhearing(gateway) as (heard, bodies):
        text = f'input = "in.jsonl"\n[gateway]\nbase_url = "{heard.base_url}"\n[sweep]\n'
        (bench.folder / "job.toml").write_text(text + "temperature = [0, 1]\n")
        assert "[sweep] can't change their temperature" in bench.run("job.toml", code=78).stderr
        (bench.folder / "job.toml").write_text(text + "samples = 2\n")
        bench.run("job.toml")
    assert sorted(sent["seed"] for sent in bodies) == [3, 4]
    assert [row["sample"] for row in bench.output()] == [0, 1]


def test_an_option_goes_before_the_sweep(bench: Bench, gateway: Gateway) -> None:
    questions(bench, 2)
    bench.run(job(bench, gateway, TWO_BY_THREE), "-m", "acme/b", "--param", "temperature=0.5")
    assert units(bench.output("out.jsonl")) == [(0, None, None), (1, None, None)]
    assert asked(gateway) == 2


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"n": [2]}, "sweep.n: can't be swept; samples = 4"),
        ({"temperature": 0}, "sweep.temperature: it takes a list of values"),
        ({"temperature": []}, "sweep.temperature: it takes a list of values"),
        ({"temperature": [0, 1, 0]}, "sweep.temperature: 0 stands there twice"),
        ({"models": ["a"]}, "sweep.models: did you mean `model`?"),
        ({"model": ["a", 1]}, "sweep.model: 1 is no model"),
        ({"samples": 0}, "sweep.samples = 0 is no number of answers"),
        ({"samples": 9, "top_k": list(range(2000))}, "sweep makes 18,000 units of each row"),
        ({"prompt": ["{{ question"]}, "the template is wrong"),
        ({"prompt": ["{{ question }}", "{{ riddle }}"]}, "needs the column 'riddle'"),
    ],
)
def test_what_is_no_sweep_is_refused_before_anything_is_sent(
    bench: Bench, gateway: Gateway, sweep: dict[str, Any], words: str
) -> None:
    questions(bench, 1)
    assert words in bench.run(job(bench, gateway, sweep, model="m/m"), code=78).stderr
    assert asked(gateway) == 0


def test_a_run_of_version_1_can_become_a_sweep(bench: Bench) -> None:
    shutil.copytree(GOLDEN / "version-1", bench.folder, dirs_exist_ok=True)
    (bench.folder / "job.toml").write_text(
        'input = "in.jsonl"\noutput = "in.results.jsonl"\n'
        '[sweep]\nmodel = ["acme/large", "acme/small"]\nmax_tokens = [20]\n'
    )
    assert "6 changed" in bench.run("job.toml", "--simulate", code=65).stderr  # it kept no digests
    bench.run("job.toml", "--simulate", "--on-drift", "keep", code=1)
    rows = bench.output()
    assert units(rows) == [(n, f"model=acme/{name} max_tokens=20", 0) for n in range(12) for name in ("large", "small")]
    summary = bench.summary()
    assert (summary["this_run"]["units"], summary["in_doubt"]) == (18, 1)
