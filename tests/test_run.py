"""The main job: a file of prompts becomes a file of answers. The real command line against the real simulator."""

import json
import shutil
import sqlite3
from collections import Counter
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import KEY, Bench, Simulate, wait_until


def test_every_row_is_answered_in_the_order_of_the_input(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.02", "--latency-spread", "1")
    bench.prompts(200)
    bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url)
    rows = bench.output()
    assert [row["row"] for row in rows] == list(range(200))
    assert all(f"Question {row['row']}?" in row["response"] for row in rows)
    assert all(row["usage"]["total_tokens"] > 0 for row in rows)
    assert gateway.ledger()["servings"]["once"] == 200


def test_faults_are_retried_until_every_row_is_answered(bench: Bench, simulate: Simulate) -> None:
    faults = [
        f"--fault={fault}" for fault in ("5xx=0.05", "reset=0.05", "truncated=0.03", "not_json=0.03", "empty=0.03")
    ]
    gateway = simulate("--latency", "0.01", *faults)
    bench.prompts(150)
    bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url)
    assert [row["status"] for row in bench.output()] == ["ok"] * 150
    ledger = gateway.ledger()
    assert ledger["arrivals"] > 150
    assert ledger["servings"]["extra_paid_without_fault"] == 0
    assert bench.summary()["tries"] == ledger["arrivals"]


def test_the_declared_rate_is_never_passed_and_nothing_is_refused(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "40", "--latency", "0.05")
    bench.prompts(120)
    bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--rps", "40")
    ledger = gateway.ledger()
    assert ledger["outcomes"]["ok"] == 120
    assert "429" not in ledger["outcomes"]
    assert 30 <= ledger["limits"][0]["worst"] <= 40


def test_without_the_limiter_the_same_gateway_refuses(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rps", "40", "--latency", "0.05")
    bench.prompts(120)
    bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--concurrency", "32")
    assert gateway.ledger()["outcomes"]["429"] > 0
    assert [row["status"] for row in bench.output()] == ["ok"] * 120


@pytest.mark.parametrize("headers", ["none", "retry-after", "openai"])
def test_a_429_pauses_the_lane_and_is_not_charged_to_the_row(bench: Bench, simulate: Simulate, headers: str) -> None:
    gateway = simulate("--headers", headers, "--latency", "0.01")
    bench.write("in.jsonl", {"prompt": "refused once [[429x1]]"}, {"prompt": "another"})
    bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "--attempts", "1")
    first, second = bench.output()
    assert (first["status"], first["attempts"], second["status"]) == ("ok", 1, "ok")
    assert gateway.ledger()["outcomes"] == {"429": 1, "ok": 2}


def test_a_finished_job_run_again_sends_nothing(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(20)
    command = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url)
    bench.run(*command)
    before = (bench.folder / "in.results.jsonl").stat()
    again = bench.run(*command)
    after = (bench.folder / "in.results.jsonl").stat()
    assert gateway.ledger()["arrivals"] == 20
    assert "20 of 20 answered" in again.stdout
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_finished_job_whose_output_was_removed_writes_it_again_unasked(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(20)
    command = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url)
    bench.run(*command)
    content = (bench.folder / "in.results.jsonl").read_bytes()
    (bench.folder / "in.results.jsonl").unlink()
    bench.run(*command)
    assert (bench.folder / "in.results.jsonl").read_bytes() == content
    assert gateway.ledger()["arrivals"] == 20


def test_a_limited_job_goes_on_with_the_other_rows(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(20)
    command = ("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url)
    bench.run(*command, "--limit", "5")
    assert len(bench.output()) == 5
    bench.run(*command)
    assert len(bench.output()) == 20
    assert gateway.ledger()["servings"]["once"] == 20


def test_every_shape_of_row_is_asked_and_parquet_goes_in_and_out(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    body = {"model": "other/model", "messages": [{"role": "user", "content": "from a body"}]}
    bench.write(
        "in.jsonl",
        {"prompt": "from a prompt", "id": "p"},
        {"messages": [{"role": "user", "content": "from messages"}], "id": 7},
        {"custom_id": "b", "method": "POST", "url": "/v1/chat/completions", "body": body},
    )
    bench.run("in.jsonl", "-m", "org/model", "--base-url", gateway.base_url, "-o", "out.parquet")
    rows = pq.read_table(bench.folder / "out.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["p", "7", "b"]
    assert [row["response"].removeprefix("Simulated answer to: ") for row in rows] == [
        "from a prompt",
        "from messages",
        "from a body",
    ]
    assert [row["model"] for row in rows] == ["org/model", "org/model", "other/model"]

    pq.write_table(pa.table({"question": ["1+1", "2+2"], "grade": [1, 2]}), bench.folder / "q.parquet")
    bench.run(
        "q.parquet", "-m", "m/m", "--base-url", gateway.base_url, "--prompt", "Grade {{ grade }}: {{ question }}="
    )
    assert bench.output("q.results.jsonl")[1]["response"].endswith("Grade 2: 2+2=")


def test_a_system_message_and_parameters_reach_the_gateway(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--completion-tokens", "50")
    bench.prompts(1)
    bench.run(
        "in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--system", "Be brief.", "--param", "max_tokens=3"
    )
    (row,) = bench.output()
    assert row["usage"]["completion_tokens"] == 3
    assert row["finish_reason"] == "length"
    assert row["status"] == "ok"


def test_a_broken_line_is_one_failed_row_with_its_line_number(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "a"}, '{"prompt": "cut', "", {"prompt": "b"}, {"no": "shape"})
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, code=1)
    rows = bench.output()
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "failed"]
    assert "line 2" in rows[1]["error"]["message"]
    assert rows[1]["error"]["kind"] == rows[3]["error"]["kind"] == "invalid_row"
    assert bench.summary()["failed_by_kind"] == {"invalid_row": 2}
    assert bench.summary()["exit_code"] == 1


def test_a_row_the_gateway_rejects_fails_alone_with_the_gateways_words(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[status:400]]"}, {"prompt": "fine"}, {"prompt": "[[status:500]]"})
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--attempts", "2", code=1)
    rejected, fine, broken = bench.output()
    assert (rejected["error"]["kind"], rejected["error"]["status"], rejected["attempts"]) == ("rejected", 400, 1)
    assert fine["status"] == "ok"
    assert (broken["error"]["kind"], broken["error"]["status"], broken["attempts"]) == ("server_error", 500, 2)


def test_a_hanging_try_times_out_and_is_tried_again(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"prompt": "[[hang]]"}, {"prompt": "fine"})
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--timeout", "0.3", "--attempts", "2", code=1)
    hanging, fine = bench.output()
    assert (hanging["error"]["kind"], hanging["attempts"]) == ("timeout", 2)
    assert fine["status"] == "ok"


def test_the_key_is_in_no_file_and_no_word(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--fault", "5xx=0.2")
    bench.prompts(30)
    done = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    refused = simulate("--key-env", "PATH")
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", refused.base_url, "-o", "x.jsonl", code=77)
    for text in (done.stdout, done.stderr, told.stdout, told.stderr):
        assert KEY not in text
    for path in bench.folder.parent.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_the_json_summary_stands_alone_on_stdout(bench: Bench) -> None:
    bench.prompts(5)
    done = bench.run("in.jsonl", "--simulate", "--json")
    assert json.loads(done.stdout)["units"] == {"total": 5, "ok": 5, "failed": 0, "pending": 0}


def test_the_store_holds_every_try(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--fault", "5xx=0.2")
    bench.prompts(40)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    with sqlite3.connect(bench.folder / "in.results.jsonl.run" / "run.sqlite") as store:
        tries = store.execute("SELECT count(*), sum(total_tokens) FROM tries").fetchone()
    ledger = gateway.ledger()
    assert tries[0] == ledger["arrivals"]
    assert tries[1] == ledger["prompt_tokens"] + ledger["completion_tokens"]


def test_limits_of_a_model_that_is_not_asked_are_a_mistake_told_before_sending(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.prompts(2)
    job = f"""
        input = "in.jsonl"
        [gateway]
        base_url = "{gateway.base_url}"
        [request]
        model = "acme/large"
        [limits."acme/lagre"]
        requests_per_second = 5
    """
    (bench.folder / "job.toml").write_text(job)
    told = bench.run("job.toml", code=78)
    assert "acme/lagre" in told.stderr
    assert gateway.ledger()["arrivals"] == 0


def test_a_state_folder_that_is_removed_while_it_is_in_use_ends_the_run(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.1")
    bench.prompts(200)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--rps", "20", "-q")
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["arrivals"] > 5)
    shutil.rmtree(bench.environment["BATCHRUNNER_STATE_DIR"])
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 74
    assert "removed" in stderr
    bench.run(*command, "--concurrency", "64", "--limit", "60")


def test_without_limits_more_and_more_requests_are_in_flight_as_long_as_that_pays(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.5")
    bench.prompts(400)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    assert gateway.ledger()["max_in_flight"] >= 32


def test_a_rows_usage_is_the_sum_over_all_its_answers_also_rejected_ones_of_a_run_that_was_stopped(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "0.1", "--fault", "empty=0.5", "--seed", "5")
    bench.prompts(30)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--attempts", "20", "--rps", "20")
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["arrivals"] >= 20)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    bench.run(*command)
    paid = Counter[str]()
    for entry in gateway.entries():
        paid[entry["prompt"]] += entry["prompt_tokens"] + entry["completion_tokens"]
    assert gateway.ledger()["arrivals"] > 40
    for row in bench.output():
        assert row["usage"]["total_tokens"] == paid[sha256(f"Question {row['row']}?".encode()).hexdigest()[:16]]
    assert bench.summary()["usage"]["total_tokens"] == paid.total()
