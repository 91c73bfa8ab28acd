"""`plan` says what `run` would do, and leaves everything as it is."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import KEY, Bench, Simulate

from batchrunner.job.schema import Job, LimitsTable, PricesTable, RequestTable
from batchrunner.limits.account import Book, Entry
from batchrunner.limits.day import Spent
from batchrunner.limits.glance import glance_at
from batchrunner.limits.page import Found
from batchrunner.limits.quota import Reset
from batchrunner.limits.sharing import Member
from batchrunner.plan.planning import Asked, survey
from batchrunner.plan.plans import cost_span, plans_of
from batchrunner.plan.weighing import MOST_COMPOSED, Load, Sum, Weighed, rate_of
from batchrunner.report.plan import Plan, lines_of, words_of_seconds
from batchrunner.runner.course import Course
from batchrunner.runner.settings import Settings
from batchrunner.store.reading import Answered

GOLDEN = Path(__file__).parent / "golden"
NOBODY = ("--base-url", "http://127.0.0.1:9/v1", "-m", "m/m")  # a port at which nobody listens
NOW = 1_795_521_600.0  # 2026-11-24 12:00 UTC


def plan(bench: Bench, *arguments: object, code: int = 0) -> Any:
    """`batchrunner plan ARGUMENTS --json`, which must end with this exit code."""
    process = bench.start("plan", *arguments, "--json")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stdout + stderr
    return json.loads(stdout) if code == 0 else stderr


def everything(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder, with its time of change and its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(f.relative_to(folder)): (f.stat().st_mtime_ns, hashlib.md5(f.read_bytes()).hexdigest()) for f in files}  # noqa: S324


def test_nothing_is_sent_or_written_and_no_key_is_needed(bench: Bench) -> None:
    bench.environment.pop("BATCHRUNNER_API_KEY")
    bench.prompts(600)
    before = everything(bench.folder.parent)
    found = plan(bench, "in.jsonl", *NOBODY, "--rpm", "60", "--param", "max_tokens=100")
    assert found["units"] == {"total": 600, "done": 0, "to_ask": 600}
    assert found["duration_s"]["likely"] == pytest.approx(600, rel=0.02)
    assert found["bound_by"] == {"requests/minute": 1.0}
    assert found["tokens"]["completion"] == {"likely": 600 * 35, "most": 600 * 100}
    assert (found["tokens"]["learned_from"], found["tokens"]["error"]) == (0, 0)
    assert found["cost"] is None
    assert any("no key is here" in note for note in found["notes"])
    assert everything(bench.folder.parent) == before
    assert [path.name for path in bench.folder.parent.iterdir()] == ["work"]


def test_the_plan_for_people_is_a_table(bench: Bench) -> None:
    bench.prompts(600)
    told = bench.start("plan", "in.jsonl", *NOBODY, "--rpm", "60", "--rpd", "400").communicate()[0]
    assert "in.jsonl -> in.results.jsonl (a plan: nothing is sent or written)" in told
    assert "requests/day binds" in told
    assert "400 tries, then the quota is gone" in told
    assert bench.start("plan", "in.jsonl", *NOBODY, "-q").communicate()[0] == ""


def test_rows_that_would_fail_are_counted_and_named(bench: Bench) -> None:
    rows = ({"prompt": "Hello?"}, "{broken", {"id": "odd", "nothing": 1}, {"id": "huge", "prompt": "word " * 20_000})
    bench.write("in.jsonl", *rows)
    found = plan(bench, "in.jsonl", *NOBODY, "--tpm", "1000", "--param", "max_tokens=100")
    assert found["units"]["to_ask"] == 4
    assert found["invalid"]["units"] == 2
    assert "line 2: not a JSON object" in found["invalid"]["first"][0]
    assert "row 2 (id 'odd')" in found["invalid"]["first"][1]
    assert found["too_large"]["units"] == 1
    assert "row 3 (id 'huge'): about 10,000 tokens at least, 1,000 fit" in found["too_large"]["first"][0]
    assert found["lanes"][0]["units"] == 1


def write_foreign_output(bench: Bench) -> None:
    (bench.folder / "in.results.jsonl").write_text("somebody's\n")


def write_foreign_errors(bench: Bench) -> None:
    (bench.folder / "in.results.jsonl.errors.jsonl").write_text("somebody's\n")


WOULD_BE_REFUSED = {
    "no input": (("none.jsonl", "-m", "m/m"), None, 65),
    "doubled ids": (("double.jsonl", "-m", "m/m"), None, 65),
    "no model": (("in.jsonl",), None, 78),
    "no such column": (("in.jsonl", "-m", "m/m", "--prompt", "{{ question }}"), None, 78),
    "no earlier run": (("in.jsonl", "-m", "m/m", "--resume", "must"), None, 78),
    "an output of somebody else's": (("in.jsonl", "-m", "m/m"), write_foreign_output, 78),
    "an output of no known kind": (("in.jsonl", "-m", "m/m", "-o", "out.xml"), None, 78),
    "a key in the clear": (("in.jsonl", "-m", "m/m", "--base-url", "http://gateway.example/v1"), None, 78),
    "failures of somebody else's": (
        ("in.jsonl", "-m", "m/m", "--output-format", "openai-batch"),
        write_foreign_errors,
        78,
    ),
    "one output for two jobs": (("in.jsonl", "./in.jsonl", "-m", "m/m"), None, 78),
    "a wrong option": (("in.jsonl", "--rpm", "many"), None, 2),
}


@pytest.mark.parametrize(("arguments", "prepare", "code"), WOULD_BE_REFUSED.values(), ids=WOULD_BE_REFUSED)
def test_what_a_run_is_refused_for_before_it_sends_a_plan_is_too(
    bench: Bench, arguments: tuple[str, ...], prepare: Any, code: int
) -> None:
    bench.prompts(3)
    bench.write("double.jsonl", {"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"})
    if prepare is not None:
        prepare(bench)
    before = everything(bench.folder.parent)
    told = plan(bench, *arguments, code=code)
    assert everything(bench.folder.parent) == before
    assert bench.run(*arguments, code=code).stderr == told.replace("batchrunner plan", "batchrunner run")


@pytest.fixture
def half_done(bench: Bench, simulate: Simulate) -> Iterator[tuple[str, ...]]:
    """A job of 40 rows of which 25 were answered, each by 20 tokens; the value are its arguments."""
    gateway = simulate("--latency", "0.05", "--completion-tokens", "20", "--completion-spread", "0")
    bench.write("in.jsonl", *({"prompt": f"Question {n}? " + "word " * (10 * (n % 7))} for n in range(40)))
    job = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--param", "max_tokens=500", "--rps", "50")
    bench.run(*job, "--limit", "25")
    yield job
    assert gateway.ledger()["servings"]["once"] == gateway.ledger()["paid"]


def test_what_was_answered_is_skipped_and_learned_from(bench: Bench, half_done: tuple[str, ...]) -> None:
    before = everything(bench.folder.parent)
    found = plan(bench, *half_done)
    assert everything(bench.folder.parent) == before
    assert found["units"] == {"total": 40, "done": 25, "to_ask": 15}
    assert found["tokens"]["learned_from"] == 25
    assert found["tokens"]["completion"]["likely"] == 15 * 20
    assert 0.05 <= found["lanes"][0]["latency_s"] < 1
    used = bench.summary()["usage"]["prompt_tokens"]
    bench.run(*half_done)
    assert found["tokens"]["prompt"] == pytest.approx(bench.summary()["usage"]["prompt_tokens"] - used, rel=0.05)
    nothing = plan(bench, *half_done)
    assert nothing["units"] == {"total": 40, "done": 40, "to_ask": 0}
    assert nothing["duration_s"]["likely"] == 0
    assert any("nothing is left to ask" in note for note in nothing["notes"])


def test_drift_is_told_as_a_run_tells_it(bench: Bench, half_done: tuple[str, ...]) -> None:
    changed = (*half_done, "--system", "Be brief.")
    assert plan(bench, *changed, code=65) == bench.run(*changed, code=65).stderr
    recorded = (*half_done, "--keep", "prompt")
    assert plan(bench, *recorded, code=65) == bench.run(*recorded, code=65).stderr
    assert plan(bench, *recorded, "--on-drift", "keep")["units"]["done"] == 25
    assert plan(bench, *changed, "--on-drift", "rerun-changed")["units"]["done"] == 0
    assert plan(bench, *changed, "--on-drift", "keep")["units"]["done"] == 25
    assert plan(bench, *changed, "--resume", "never")["units"]["done"] == 0


def test_a_sweep_that_grew_skips_what_it_had(bench: Bench, half_done: tuple[str, ...]) -> None:
    _, *options = half_done
    bench.write(
        "job.toml", 'input = "in.jsonl"\noutput = "in.results.jsonl"\n[sweep]\ntemperature = [0, 1]\nsamples = 2'
    )
    found = plan(bench, "job.toml", *options)
    assert (found["rows"], found["units"]) == (40, {"total": 160, "done": 0, "to_ask": 160})
    bench.write("job.toml", 'input = "in.jsonl"\noutput = "in.results.jsonl"\n[sweep]\nsamples = 2')
    found = plan(bench, "job.toml", *options)
    assert (found["rows"], found["units"]) == (40, {"total": 80, "done": 25, "to_ask": 55})


def test_what_this_machine_used_today_is_not_there_any_more(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.01")
    limits = ("-m", "m/m", "--base-url", gateway.base_url, "--rpd", "50", "--rps", "20")
    bench.prompts(30)
    bench.run("in.jsonl", *limits)
    bench.prompts(45, "more.jsonl")
    before = everything(bench.folder.parent)
    for without_key in (False, True):
        if without_key:
            bench.environment.pop("BATCHRUNNER_API_KEY")
        found = plan(bench, "more.jsonl", *limits)
        (lane,) = found["lanes"]
        assert lane["used_today"]["requests"] == 30
        assert [(day["requests"], day["quota_gone"]) for day in lane["days"]] == [(20, True), (25, False)]
        assert lane["days"][1]["begins_at"].endswith("T00:00:00Z")
        assert next(iter(found["bound_by"])) == "requests/day"
    assert everything(bench.folder.parent) == before


def test_standard_input_is_planned_and_kept_nowhere(bench: Bench) -> None:
    rows = "".join(json.dumps({"prompt": f"{n}?"}) + "\n" for n in range(7))
    process = bench.start("plan", "-", *NOBODY, "-o", "out.jsonl", "--json", stdin=subprocess.PIPE)
    stdout, stderr = process.communicate(rows, timeout=60)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["rows"] == 7
    assert list(bench.folder.iterdir()) == []


def test_jobs_at_the_same_time_share_the_limits_of_a_lane(bench: Bench) -> None:
    bench.prompts(600, "one.jsonl")
    bench.prompts(600, "two.jsonl")
    limits = ("--base-url", "http://127.0.0.1:9/v1", "--rpm", "60")
    alone = plan(bench, "one.jsonl", "-m", "m/m", *limits)
    both = plan(bench, "one.jsonl", "two.jsonl", "-m", "m/m", *limits)["jobs"]
    for found, other in zip(both, ("two.jsonl", "one.jsonl"), strict=True):
        assert found["duration_s"]["likely"] == pytest.approx(2 * alone["duration_s"]["likely"], rel=0.02)
        assert found["units"]["to_ask"] == 600
        assert found["lanes"][0]["shared_with"] == [other]


def test_models_have_lanes_of_their_own_or_share_the_account(bench: Bench) -> None:
    bench.prompts(300)
    job = 'input = "in.jsonl"\n[sweep]\nmodel = ["a/a", "b/b"]\n[limits]\nrequests_per_minute = 60\n'
    bench.write("job.toml", job)
    found = plan(bench, "job.toml")
    assert [(lane["lane"], lane["units"]) for lane in found["lanes"]] == [("a/a", 300), ("b/b", 300)]
    assert found["duration_s"]["likely"] == pytest.approx(300, rel=0.05)
    bench.write("job.toml", job + 'scope = "account"\n')
    found = plan(bench, "job.toml")
    assert [(lane["lane"], lane["units"]) for lane in found["lanes"]] == [("account", 600)]
    assert found["duration_s"]["likely"] == pytest.approx(600, rel=0.05)


def test_a_real_run_takes_about_as_long_as_was_planned(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.3", "--rps", "30")
    bench.prompts(240)
    job = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--rps", "30", "--param", "max_tokens=30")
    foreseen = plan(bench, *job)["duration_s"]["likely"]
    began = time.monotonic()
    bench.run(*job)
    took = time.monotonic() - began
    assert 8 < foreseen < 10
    assert 0.9 * foreseen < bench.summary()["this_run"]["duration_s"] <= took < 2 * foreseen + 5


PRICED = """
input = "in.jsonl"
output = "in.results.jsonl"
[request]
model = "m/m"
params = { max_tokens = 100 }
[limits]
requests_per_minute = 60
[prices]
prompt = 1
completion = 10
"""


def test_a_job_with_prices_has_a_cost_and_its_deadlines_and_budgets_are_held_against_it(bench: Bench) -> None:
    bench.write("in.jsonl", *({"prompt": "x" * 100} for _ in range(600)))  # 30 tokens, 35 to 100 more, ten minutes
    bench.write("job.toml", PRICED)
    found = plan(bench, "job.toml")
    prompt, likely, most = (600 * tokens / 1e6 for tokens in (30, 350, 1000))
    assert found["cost"] == {"likely": pytest.approx(prompt + likely), "most": pytest.approx(prompt + most)}
    assert (found["until"], found["budgets"]) == (None, [])

    for duration, in_time, by_then in (("5m", False, 300), ("30m", True, 600)):
        until = plan(bench, "job.toml", "--max-duration", duration)["until"]
        assert (until["likely"], until["surely"]) == (in_time, in_time)
        assert until["units_by_then"] == pytest.approx(by_then, rel=0.05)
    tomorrow = (datetime.now().astimezone() + timedelta(days=1)).isoformat(timespec="seconds")
    until = plan(bench, "job.toml", "--until", tomorrow)["until"]
    assert until["likely"]
    assert datetime.fromisoformat(until["at"]) == datetime.fromisoformat(tomorrow)

    for cost, lasts, surely, units in ((0.114, False, False, 300), (0.3, True, False, 600), (1, True, True, 600)):
        (budget,) = plan(bench, "job.toml", "--budget-cost", cost)["budgets"]
        assert (budget["budget"], budget["likely"], budget["surely"]) == ("--budget-cost", lasts, surely)
        assert budget["units"] == pytest.approx(units, rel=0.01)
    (budget,) = plan(bench, "job.toml", "--budget-tokens", 19_500)["budgets"]
    assert (budget["budget"], budget["likely"], budget["units"]) == ("--budget-tokens", False, 300)
    told = bench.start("plan", "job.toml", "--budget-tokens", "19500", "--max-duration", "5m").communicate()[0]
    assert "--budget-tokens 19,500: it is used up before the end, after about 300 of 600" in told
    assert "(--until, --max-duration): it does not end before" in told


def test_jobs_planned_together_have_prices_and_deadlines_of_their_own(bench: Bench) -> None:
    for name, more in (("one", "[run]\nmax_duration = 60\n"), ("two", "")):
        bench.write(f"{name}.jsonl", *({"prompt": "x" * 100} for _ in range(600)))
        bench.write(f"{name}.toml", PRICED.replace("in.", f"{name}.").replace("= 10\n", f"= {len(more) or 1}\n") + more)
    one, two = plan(bench, "one.toml", "two.toml")["jobs"]
    assert one["cost"]["likely"] > 2 * two["cost"]["likely"]
    assert (one["until"]["likely"], two["until"]) == (False, None)


def test_what_earlier_runs_spent_is_gone_from_a_budget(bench: Bench, half_done: tuple[str, ...]) -> None:
    (budget,) = plan(bench, *half_done, "--budget-tokens", "1000000")["budgets"]
    usage = bench.summary()["usage"]
    assert budget["spent"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert (budget["likely"], budget["surely"], budget["units"]) == (True, True, 15)
    (budget,) = plan(bench, *half_done, "--budget-tokens", usage["total_tokens"])["budgets"]
    assert (budget["likely"], budget["units"]) == (False, 0)
    (budget,) = plan(bench, *half_done, "--budget-tokens", "1000000", "--resume", "never")["budgets"]
    assert budget["spent"] == 0


@pytest.mark.parametrize(
    ("version", "arguments", "done"),
    [
        (1, ("in.jsonl", "-m", "acme/small", "--simulate", "--param", "max_tokens=20"), (12, 6)),
        (2, ("in.jsonl", "--simulate"), (8, 7)),
    ],
)
def test_a_run_of_an_older_version_is_planned_and_left_as_it_is(
    bench: Bench, version: int, arguments: tuple[str, ...], done: tuple[int, int]
) -> None:
    shutil.copytree(GOLDEN / f"version-{version}", bench.folder, dirs_exist_ok=True)
    before = everything(bench.folder)
    found = plan(bench, *arguments)
    assert (found["units"]["total"], found["units"]["done"]) == done
    assert found["tokens"]["learned_from"] > 0
    budgeted = (*arguments, "--budget-tokens", "1000000", "--param", "max_tokens=20", "--on-drift", "keep")
    (budget,) = plan(bench, *budgeted)["budgets"]
    assert budget["spent"] > 0
    assert everything(bench.folder) == before
    bench.run(*arguments, code=1)
    assert bench.summary()["this_run"]["units"] == found["units"]["to_ask"]


def test_a_store_that_was_never_made_holds_nothing(bench: Bench) -> None:
    bench.prompts(3)
    (bench.folder / "in.results.jsonl.run").mkdir()
    (bench.folder / "in.results.jsonl.run" / "run.sqlite").touch()
    assert plan(bench, "in.jsonl", *NOBODY)["units"] == {"total": 3, "done": 0, "to_ask": 3}


def test_answers_that_would_go_to_standard_output_are_planned_as_json(bench: Bench) -> None:
    bench.prompts(3)
    found = plan(bench, "in.jsonl", *NOBODY, "-o", "-")
    assert (found["output"], found["units"]["to_ask"]) == ("-", 3)
    bench.prompts(3, "more.jsonl")
    bench.write("job.toml", 'input = "in.jsonl"\noutput = "-"')
    assert "Standard output is for a run of its own" in plan(bench, "job.toml", "more.jsonl", *NOBODY, code=78)


def test_what_may_be_a_mistake_is_among_the_notes(bench: Bench) -> None:
    bench.prompts(3)
    notes = plan(bench, "in.jsonl", *NOBODY, "--param", "max_token=9")["notes"]
    assert any("max_token" in note and "max_tokens" in note for note in notes)


def test_a_large_input_is_told_from_a_sample_with_its_error(bench: Bench) -> None:
    draw = Random(1)
    rows = [
        {"prompt": "x" * draw.randint(1, 2000)} if n % 100 else {"nothing": 1} for n in range(MOST_COMPOSED * 6 // 5)
    ]
    bench.write("in.jsonl", *rows)
    found = plan(bench, "in.jsonl", *NOBODY, "--rpm", "600", "--param", "max_tokens=100")
    assert found["looked_at"] == MOST_COMPOSED < found["units"]["to_ask"] == len(rows)
    chars = sum(len(row.get("prompt", "")) for row in rows)
    completions = 35 * sum("prompt" in row for row in rows)
    error = found["tokens"]["error"]
    assert 0 < error < 0.01
    assert found["tokens"]["total"]["likely"] == pytest.approx(0.3 * chars + completions, rel=2 * error)
    assert found["invalid"]["units"] == pytest.approx(len(rows) / 100, rel=0.2)
    told = bench.start("plan", "in.jsonl", *NOBODY).communicate()[0]
    assert "50,000 units at random were looked at" in told
    assert re.search(r"of these invalid +about [56]\d\d", told)


@pytest.mark.parametrize("seen", [50, 500, 2000])
def test_the_error_of_a_sample_is_kept_nineteen_times_of_twenty(seen: int) -> None:
    draw = Random(seen)
    amounts = [draw.lognormvariate(4, 0.7) for _ in range(5000)]
    kept = 0
    for _ in range(200):
        found = Sum()
        for amount in draw.sample(amounts, seen):
            found.add(amount)
        estimate = found.total / seen * len(amounts)
        kept += abs(estimate - sum(amounts)) <= found.error(seen, len(amounts)) * estimate
    assert kept >= 180
    assert Sum().error(0, 10) == 0


def planned(folder: Path, limits: LimitsTable, *, rows: int = 100, until: float | None = None, **more: Any) -> Plan:
    """The plan of a job of so many prompts, by a process of its own."""
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps({"prompt": "x" * 100}) + "\n" for _ in range(rows)))
    job = Job(input=str(path), request=RequestTable(model="m/m", params={"max_tokens": 100}), limits=limits, **more)
    settings = Settings(run_dir=folder / "run", state_dir=folder)
    asked = Asked(name="in.jsonl", job=job, settings=settings, account=KEY, until=until)
    (found,) = plans_of([survey(asked, Course())], now=NOW)
    return found


def test_where_nobody_knows_a_limit_the_times_are_a_range(tmp_path: Path) -> None:
    found = planned(tmp_path, LimitsTable(), rows=10_000)
    assert not found.rate_known
    assert found.duration_s.likely is not None
    assert found.duration_s.most is not None
    assert found.duration_s.most > 30 * found.duration_s.likely
    assert any("nobody knows the pace" in note for note in found.notes)
    assert any("at best" in line for line in lines_of(found))
    fixed = planned(tmp_path, LimitsTable(concurrency=10), rows=10_000)
    assert fixed.rate_known
    assert fixed.bound_by == {"requests in flight": 1.0}


def noted(state_dir: Path, **more: Any) -> None:
    """A book in which this lane has something."""
    with closing(Book(state_dir)) as book:
        name = book.lane_name(Job(input="-").gateway.base_url, KEY, "m/m")
        with book.meeting(name, "me") as meeting:
            meeting.entry = Entry(member=Member(at=0.0, until=0.0), **more)


def test_limits_that_earlier_runs_found_hold(tmp_path: Path) -> None:
    found = Found(dimension="requests", window_seconds=60.0, amount=60.0)
    noted(tmp_path, found=[found], found_at=1.0)
    seen = planned(tmp_path, LimitsTable(requests_per_minute=600))
    assert [(limit.limit, limit.amount, limit.found) for limit in seen.lanes[0].limits] == [
        ("requests/minute", 60, True)
    ]
    assert seen.duration_s.likely == pytest.approx(100, rel=0.05)
    assert seen.duration_s.most == pytest.approx(100 / 0.92, rel=0.05)
    assert planned(tmp_path, LimitsTable(requests_per_minute=6)).duration_s.likely == pytest.approx(1000, rel=0.05)


def test_a_quota_that_the_gateway_said_is_gone_delays_the_beginning(tmp_path: Path) -> None:
    noted(tmp_path, gone_until=NOW + 3600)
    found = planned(tmp_path, LimitsTable(requests_per_second=10))
    assert found.duration_s.likely == pytest.approx(3610, abs=10)
    assert next(iter(found.bound_by)) == "the daily limit"


def test_a_look_into_the_book_changes_nothing_whoever_has_it_open(tmp_path: Path) -> None:
    noted(tmp_path, spent={Reset(0, 0, "UTC").day(NOW): Spent(5.0, 50.0)})
    before = everything(tmp_path)
    for open_elsewhere in (False, True):
        with closing(Book(tmp_path)) if open_elsewhere else closing(io.BytesIO()), glance_at(tmp_path) as book:
            assert book is not None
            page = book.page("https://inference.baseten.co/v1", KEY, "m/m")
            assert page is not None
            assert page.days["2026-11-24"] == Spent(5.0, 50.0)
            assert book.page("https://inference.baseten.co/v1", "another", "m/m") is None
            assert book.page("https://inference.baseten.co/v1", None, "m/m") == page
    assert everything(tmp_path).keys() == before.keys()
    with glance_at(tmp_path / "nowhere") as book:
        assert book is None


@pytest.mark.parametrize(
    ("hours", "likely", "surely", "by_then"),
    [(1, False, False, 3600), (4, True, False, 10_000), (9, True, True, 10_000)],
)
def test_a_deadline_is_met_surely_likely_or_not(
    tmp_path: Path, hours: int, *, likely: bool, surely: bool, by_then: int
) -> None:
    limits = LimitsTable(requests_per_minute=60, tokens_per_minute=4000)  # 65 tokens a row are likely, 130 the most
    found = planned(tmp_path, limits, rows=10_000, until=NOW + hours * 3600)
    assert found.until is not None
    assert (found.until.likely, found.until.surely) == (likely, surely)
    assert found.until.units_by_then == pytest.approx(by_then, rel=0.03)
    words = next(line for line in lines_of(found) if "--until" in line)
    assert ("it ends before" in words) == likely
    assert ("about 3,5" in words or "about 3,6" in words) == (not likely)


def test_of_a_deadline_where_nobody_knows_the_pace_nobody_says_yes(tmp_path: Path) -> None:
    found = planned(tmp_path, LimitsTable(), until=NOW + 3600)
    assert found.until is not None
    assert found.until.likely is None


LOADS = {"a/a": Load(units=2, prompt=100, likely=50, most=200), "b/b": Load(units=1, prompt=10, likely=5, most=20)}


def price(model: str, prompt: float, completion: float) -> float | None:
    """Of one model only."""
    return prompt + 2 * completion if model == "a/a" else None


def test_cost_is_a_range_and_unknown_is_not_zero(tmp_path: Path) -> None:
    one = {"a/a": LOADS["a/a"]}
    span = cost_span(one, 10.0, price)
    assert span is not None
    assert (span.likely, span.most) == (2000, 5000)
    assert cost_span(LOADS, 10.0, price) is None
    unbounded = cost_span({"a/a": Load(units=1, prompt=1, likely=1, most=1, unbounded=True)}, 1.0, price)
    assert unbounded is not None
    assert (unbounded.likely, unbounded.most) == (3, None)
    found = planned(tmp_path, LimitsTable(requests_per_minute=60), prices=PricesTable(prompt=0, completion=1000))
    assert found.cost is not None
    assert (found.cost.likely, found.cost.most) == (pytest.approx(3.5), pytest.approx(10))
    assert any(line.split() == ["cost", "3.50", "10.00"] for line in lines_of(found))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "unknown"), (0, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (11_520, "3 h 12 min"), (2e6, "23 d 3 h")],
)
def test_times_are_told_by_their_two_largest_units(seconds: float | None, words: str) -> None:
    assert words_of_seconds(seconds) == words


def test_the_pace_of_an_earlier_run_knows_nothing_of_the_night_that_lay_between() -> None:
    def answered(sent_at: float) -> Answered:
        return Answered(number=0, prompt_tokens=1, completion_tokens=1, sent_at=sent_at, latency_s=2.0)

    at_once = [answered(night + place) for night in (0.0, 50_000.0) for place in (0.0, 1.0, 2.0)]
    assert rate_of(at_once) == pytest.approx(6 / 8)
    assert rate_of([]) is None


def test_models_share_the_pace_of_an_earlier_run_by_their_units() -> None:
    weighed = Weighed(pending=40, seen=40, loads={"a": Load(units=30), "b": Load(units=10)}, rate=8.0)
    assert (weighed.rate_for(["a"]), weighed.rate_for(["b"]), weighed.rate_for(["a", "b"])) == (6.0, 2.0, 8.0)
    assert Weighed(pending=0, seen=0).rate_for([]) is None
