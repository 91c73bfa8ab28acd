"""What stops a unit, a lane and the run, and what a tired person gets wrong: codes, words, and nothing lost."""

import json
import os
import signal
import time

import pytest
from conftest import Bench, Simulate, wait_until


def test_a_missing_input_is_named(bench: Bench) -> None:
    told = bench.run("nothing.jsonl", "-m", "m/m", "--simulate", code=65)
    assert "nothing.jsonl" in told.stderr
    assert list(bench.folder.iterdir()) == []


def test_a_template_column_that_the_input_does_not_have_is_found_before_sending(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"question": "a"}, {"question": "b"})
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--prompt", "{{ qestion }}", code=78)
    assert "'qestion'" in told.stderr
    assert "did you mean 'question'?" in told.stderr
    assert gateway.ledger()["arrivals"] == 0


def test_a_doubled_custom_id_is_refused_with_both_line_numbers(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"custom_id": "a", "prompt": "1"}, {"custom_id": "b", "prompt": "2"}, {"custom_id": "a"})
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, code=65)
    assert "1" in told.stderr
    assert "3" in told.stderr
    assert gateway.ledger()["arrivals"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--rpm", "many"), 2, "many"),
        (("--resume", "perhaps"), 2, "never"),
        (("--concurrency", "lots"), 2, "write 64, say, or auto"),
        (("--concurrency", "0"), 2, "write 64, say, or auto"),
        (("--api-key-env", "sk-live-0123"), 78, "never the key itself"),
        (("-o", "in.jsonl", "--overwrite"), 78, "part of the input"),
        (("--param", "stop=END"), 2, "needs its quotes"),
        (("--param", "n=2"), 78, "samples = 4"),
        (("--base-url", "http://gateway.example/v1"), 78, "--allow-insecure-http"),
        (("--base-url", "gateway.example"), 78, "no URL"),
        (("--prompt", "{{ question"), 78, "template"),
        (("-o", "answers.txt"), 78, ".jsonl, .jsonl.gz, .jsonl.zst or .parquet"),
        (("-o", "in.jsonl/answers.jsonl"), 74, "in.jsonl"),
        (("--resume", "must"), 78, "no earlier run"),
    ],
)
def test_wrong_options_are_explained_before_anything_is_sent(
    bench: Bench, arguments: tuple[str, ...], code: int, words: str
) -> None:
    bench.prompts(1)
    assert words in bench.run("in.jsonl", "-m", "m/m", *arguments, code=code).stderr


def test_a_folder_without_data_is_no_job(bench: Bench) -> None:
    (bench.folder / "data").mkdir()
    assert "data" in bench.run("data", "-m", "m/m", code=65).stderr


def test_a_refused_output_leaves_nothing_behind(bench: Bench) -> None:
    bench.prompts(1)
    (bench.folder / "out.jsonl").touch()
    bench.run("in.jsonl", "-m", "m/m", "-o", "out.jsonl", code=78)
    assert sorted(path.name for path in bench.folder.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_run_without_an_answer_binds_nobody_and_says_why_its_rows_failed(bench: Bench) -> None:
    bench.write("in.jsonl", {"question": "a"}, {"question": "b"})
    told = bench.run("in.jsonl", "--simulate", code=1)
    assert "first failure: row 0: the row has none of `prompt`, `messages` and `body`" in told.stdout
    bench.run("in.jsonl", "--simulate", "--prompt", "{{ question }}")
    assert [row["status"] for row in bench.output()] == ["ok", "ok"]


def test_no_model_is_found_before_sending(bench: Bench) -> None:
    bench.prompts(1)
    assert "--model" in bench.run("in.jsonl", code=78).stderr


def test_no_key_is_told_with_the_places_where_it_may_be(bench: Bench) -> None:
    bench.prompts(1)
    del bench.environment["BATCHRUNNER_API_KEY"]
    told = bench.run("in.jsonl", "-m", "m/m", code=77)
    assert "BATCHRUNNER_API_KEY or BASETEN_API_KEY" in told.stderr


def test_an_unknown_key_of_a_job_file_gets_the_nearest_name(bench: Bench) -> None:
    (bench.folder / "job.toml").write_text('input = "in.jsonl"\n[request]\npromt = "{{ a }}"\n')
    told = bench.run("job.toml", "--simulate", code=78)
    assert "[request] has no key `promt`; did you mean `prompt`?" in told.stderr


def test_an_output_that_batchrunner_did_not_make_is_not_overwritten(bench: Bench) -> None:
    bench.prompts(2)
    (bench.folder / "in.results.jsonl").write_text("precious")
    bench.run("in.jsonl", "--simulate", code=78)
    assert (bench.folder / "in.results.jsonl").read_text() == "precious"
    bench.run("in.jsonl", "--simulate", "--overwrite")
    assert len(bench.output()) == 2


def test_a_changed_request_does_not_mix_with_the_answers_of_the_earlier_one(bench: Bench) -> None:
    bench.prompts(2)
    bench.run("in.jsonl", "--simulate")
    first = bench.output()
    told = bench.run("in.jsonl", "--simulate", "--param", "temperature=1", code=65)
    assert "params" in told.stderr
    bench.run("in.jsonl", "--simulate", "--param", "temperature=1", "--resume", "never")
    assert (bench.folder / "in.results.jsonl.run.1" / "run.sqlite").exists()
    assert bench.output()[0]["finished_at"] > first[0]["finished_at"]


def test_a_new_start_that_is_stopped_may_be_started_anew_again(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.2")
    bench.prompts(20)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--resume", "never", "--concurrency", "4")
    bench.run(*command)
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["arrivals"] > 24)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate()
    assert process.returncode == 143
    assert "go on with: batchrunner run in.jsonl -m m/m" in stdout
    assert "--resume" not in stdout
    bench.run(*command)
    assert len(bench.output()) == 20


def test_a_refused_key_stops_the_lane_and_leaves_every_row_pending(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--key-env", "PATH", "--latency", "0.05")
    bench.prompts(100)
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, code=77)
    assert gateway.ledger()["arrivals"] < 50
    assert bench.summary()["units"] == {"total": 100, "ok": 0, "failed": 0, "pending": 100}
    assert "go on with: batchrunner run in.jsonl" in told.stdout


def test_a_403_that_others_do_not_meet_is_one_failed_row(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    rows = [{"prompt": f"{number}"} for number in range(30)]
    bench.write("in.jsonl", *rows, {"prompt": "moderated [[status:403]]"}, *({"prompt": f"b{n}"} for n in range(30)))
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "1", code=1)
    assert bench.summary()["failed_by_kind"] == {"refused": 1}


@pytest.mark.slow
def test_an_unknown_model_is_asked_for_a_minute_and_the_reason_is_told_meanwhile(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--model", "known/model")
    bench.prompts(20)
    told = bench.run("in.jsonl", "-m", "new/model", "--base-url", gateway.base_url, "--progress", "log", code=77)
    assert "404" in told.stderr
    assert "path of --base-url" in told.stdout
    assert 5 <= gateway.ledger()["arrivals"] <= 20
    assert bench.summary()["units"]["pending"] == 20


def test_the_first_fifty_failing_alike_stop_the_run_and_stay_pending(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{number} [[status:422]]"} for number in range(300)))
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, code=69)
    assert gateway.ledger()["arrivals"] < 150
    assert bench.summary()["units"]["pending"] == 300
    assert "all failed alike" in told.stdout


@pytest.mark.slow
@pytest.mark.parametrize("outage", ["0-6", "2-16"])
def test_a_gateway_that_is_away_charges_nobody_and_is_waited_for(bench: Bench, simulate: Simulate, outage: str) -> None:
    gateway = simulate("--outage", outage, "--latency", "0.01")
    bench.prompts(60)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--rps", "12")
    assert {row["status"] for row in bench.output()} == {"ok"}
    assert gateway.ledger()["outcomes"]["ok"] == 60


def test_a_gateway_that_stays_away_ends_the_run_with_its_rows_pending(bench: Bench) -> None:
    bench.prompts(30)
    url = "http://127.0.0.1:9/v1"
    bench.run("in.jsonl", "-m", "m/m", "--base-url", url, "--max-outage", "3s", code=69)
    assert bench.summary()["units"] == {"total": 30, "ok": 0, "failed": 0, "pending": 30}


def test_a_daily_limit_parks_the_run_until_midnight_utc(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--rpd", "20", "--headers", "retry-after", "--latency", "0.01")
    bench.prompts(50)
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, code=75)
    summary = bench.summary()
    assert summary["units"]["ok"] == 20
    assert summary["resume_at"] is not None
    assert "T00:00:0" in summary["resume_at"]
    assert "come back at" in told.stdout
    assert gateway.ledger()["outcomes"]["429"] < 20


@pytest.mark.slow
def test_twenty_429s_on_one_row_while_others_pass_fail_that_row(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--headers", "openai", "--latency", "0.01")
    bench.write("in.jsonl", {"prompt": "[[status:429]]"}, *({"prompt": f"{number}"} for number in range(300)))
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--rps", "40", code=1)
    assert bench.summary()["failed_by_kind"] == {"rate_limited": 1}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_what_is_in_flight_finish_and_the_run_goes_on_later(
    bench: Bench, simulate: Simulate, number: signal.Signals, code: int
) -> None:
    gateway = simulate("--latency", "0.3")
    bench.prompts(30)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "5")
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["arrivals"] >= 8)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == code, stderr
    assert "go on with: batchrunner run" in stdout
    assert not (bench.folder / "in.results.jsonl").exists()
    assert bench.summary()["units"]["ok"] == gateway.ledger()["paid"]
    bench.run(*command)
    assert gateway.ledger()["servings"]["once"] == 30
    assert bench.summary()["in_doubt"] == 0


def test_a_second_signal_ends_the_run_now_and_says_what_is_in_doubt(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *({"prompt": f"{number}"} for number in range(20)), {"prompt": "[[hang]]"})
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["arrivals"] >= 21)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == 130
    assert bench.summary()["units"] == {"total": 21, "ok": 20, "failed": 0, "pending": 1}
    assert bench.summary()["in_doubt"] == 1
    bench.run(*command, "--timeout", "0.2", "--attempts", "1", code=1)
    assert bench.summary()["in_doubt"] == 1


def test_too_many_failed_rows_stop_the_run_and_the_next_one_goes_on(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.02")
    bench.write("in.jsonl", *({"prompt": f"{n} [[status:400]]" if n % 10 == 0 else f"{n}"} for n in range(1500)))
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "10")
    told = bench.run(*command, code=69)
    assert "units failed, more than --max-failed 5%" in told.stdout
    asked = gateway.ledger()["arrivals"]
    assert 200 <= asked < 1000
    bench.run(*command, "--max-failed", "none", code=1)
    assert gateway.ledger()["arrivals"] == 1500
    assert bench.summary()["units"] == {"total": 1500, "ok": 1350, "failed": 150, "pending": 0}


def test_what_is_in_flight_at_a_stop_gets_no_longer_than_the_grace(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.05")
    bench.write("in.jsonl", *({"prompt": f"{number}"} for number in range(20)), {"prompt": "[[hang]]"})
    process = bench.start("run", "in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--grace", "0.5")
    wait_until(lambda: gateway.ledger()["arrivals"] >= 21)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == 143
    assert bench.summary()["in_doubt"] == 1


def test_a_second_run_of_the_same_output_exits_75_and_says_who_holds_it(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "1")
    bench.prompts(3)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["arrivals"] >= 1)
    os.kill(process.pid, signal.SIGSTOP)
    told = bench.run(*command, code=75)
    os.kill(process.pid, signal.SIGCONT)
    assert f"process {process.pid} on" in told.stderr
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert gateway.ledger()["arrivals"] == 3


def test_log_lines_and_summaries_hold_no_escape_codes_from_the_gateway(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.write("in.jsonl", {"id": "\x1b]0;owned\x07", "prompt": "a"}, {"prompt": "[[status:401]]"})
    told = bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "1", code=1)
    assert "\x1b" not in told.stdout + told.stderr
    assert json.loads((bench.folder / "in.results.jsonl").read_text().splitlines()[0])["status"] == "ok"


def test_a_file_that_appears_meanwhile_is_never_replaced_not_even_by_the_next_run(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate("--latency", "1")
    bench.prompts(2)
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    process = bench.start("run", *command)
    wait_until(lambda: gateway.ledger()["arrivals"] == 2)
    (bench.folder / "in.results.jsonl").write_text("precious")
    process.communicate()
    assert process.returncode == 74
    bench.run(*command, code=78)
    assert (bench.folder / "in.results.jsonl").read_text() == "precious"


def test_rows_that_all_fail_alike_after_others_were_answered_are_failed_rows(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    good = [{"prompt": f"good {number}"} for number in range(10)]
    bench.write("in.jsonl", *good, *({"prompt": f"{number} [[status:400]]"} for number in range(60)))
    command = ("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    bench.run(*command, "--limit", "10")
    bench.run(*command, code=1)
    assert bench.summary()["failed_by_kind"] == {"rejected": 60}


@pytest.mark.slow
def test_one_row_that_no_gateway_survives_fails_alone_even_with_one_request_in_flight(
    bench: Bench, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.write("in.jsonl", *({"prompt": f"{n}" if n != 5 else "[[status:503]]"} for n in range(30)))
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url, "--concurrency", "1", "--attempts", "4", code=1)
    assert bench.summary()["failed_by_kind"] == {"unavailable": 1}


def test_a_slash_at_the_end_of_the_base_url_makes_no_other_gateway(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate()
    bench.prompts(3)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url)
    bench.run("in.jsonl", "-m", "m/m", "--base-url", gateway.base_url + "/")
    assert gateway.ledger()["arrivals"] == 3


def test_of_several_lanes_one_that_is_refused_leaves_the_others_at_work(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.01")
    bodies = [
        {"model": f"m/{n % 2}", "messages": [{"role": "user", "content": f"{n}" + " [[status:401]]" * (n % 2)}]}
        for n in range(400)
    ]
    bench.write("in.jsonl", *({"custom_id": f"{n}", "body": body} for n, body in enumerate(bodies)))
    bench.run("in.jsonl", "--base-url", gateway.base_url, code=77)
    assert bench.summary()["units"] == {"total": 400, "ok": 200, "failed": 0, "pending": 200}


def test_a_lane_that_is_refused_again_and_again_does_not_hold_up_another(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--latency", "0.01")
    rows = [("m/slow", f"{n} [[429x1]]") if n % 2 else ("m/free", f"{n}") for n in range(600)]
    bodies = [{"model": model, "messages": [{"role": "user", "content": text}]} for model, text in rows]
    bench.write("in.jsonl", *({"custom_id": f"{n}", "body": body} for n, body in enumerate(bodies)))
    process = bench.start("run", "in.jsonl", "--base-url", gateway.base_url)

    def served(model: str) -> int:
        return sum(entry["paid"] for entry in gateway.entries() if entry["model"] == model)

    wait_until(lambda: served("m/free") == 300, seconds=15)
    assert served("m/slow") < 250
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert bench.summary()["units"]["ok"] == gateway.ledger()["servings"]["prompts"]
