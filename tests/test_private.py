"""Folders and files are the user's alone, what others planted is not followed, and nothing is written over that
batchrunner did not make."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import Bench, Simulate

NOBODY = ("-m", "m", "--base-url", "http://127.0.0.1:1/v1", "--max-outage", "0.1s")


def run(bench: Bench, *options: str, code: int) -> str:
    """What a run of two prompts says that ends with this code; with 0 it is answered."""
    bench.prompts(2)
    gateway = NOBODY if "--state-dir" in options else ("--simulate",)
    return bench.run("in.jsonl", *gateway, *options, code=code).stderr


@pytest.mark.parametrize("there", [True, False])
def test_a_planted_link_in_the_place_of_the_run_store_is_not_followed(bench: Bench, there: bool) -> None:  # noqa: FBT001
    folder, elsewhere = bench.folder / "in.results.jsonl.run", bench.folder / "elsewhere"
    folder.mkdir()
    (folder / "run.sqlite").symlink_to(elsewhere)
    if there:
        elsewhere.write_bytes(b"")
    assert "link" in run(bench, code=74)
    assert (elsewhere.read_bytes() if there else elsewhere.exists()) in (b"", False)


def test_a_planted_link_in_the_place_of_the_book_is_not_followed(bench: Bench) -> None:
    state, elsewhere = bench.folder / "mine", bench.folder / "elsewhere"
    state.mkdir()
    (state / "book.sqlite").symlink_to(elsewhere)
    assert "link" in run(bench, "--state-dir", "mine", code=74)
    assert not elsewhere.exists()


@pytest.mark.parametrize("option", ["--run-dir", "--state-dir"])
def test_a_folder_in_which_others_may_write_is_refused_with_the_remedy(bench: Bench, option: str) -> None:
    folder = bench.folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    told = run(bench, option, "open", code=74)
    assert "Others may write" in told
    assert "chmod go-w open" in told
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    run(bench, option, "open", code=69 if option == "--state-dir" else 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("option", ["--run-dir", "--state-dir"])
def test_a_folder_of_another_user_is_refused(bench: Bench, option: str) -> None:
    folder = bench.folder / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    assert "belongs to another user" in run(bench, option, "theirs", code=74)
    assert list(folder.iterdir()) == []


def test_whatever_the_umask_what_a_run_keeps_is_for_its_user_alone(bench: Bench) -> None:
    bench.prompts(2)
    process = bench.start("run", "in.jsonl", "--simulate", "--state-dir", "state", umask=0)
    process.communicate(timeout=60)
    assert process.returncode == 0
    kept = bench.folder / "in.results.jsonl.run"
    modes = {path: path.stat().st_mode & 0o777 for path in (kept, *kept.rglob("*"))}
    assert set(modes.values()) == {0o700, 0o600}, modes
    assert {path.is_dir() for path, mode in modes.items() if mode == 0o700} == {True}


@pytest.mark.parametrize("content", ["precious", "{}", '{"units": 3}', "[]", ""])
def test_a_file_in_the_place_of_the_summary_is_not_written_over(bench: Bench, content: str) -> None:
    beside = bench.folder / "in.results.jsonl.summary.json"
    beside.write_text(content)
    assert f"{beside.name} exists and is not of this run" in run(bench, code=78)
    assert beside.read_text() == content
    run(bench, "--overwrite", code=0)
    assert "ending" in beside.read_text()


def test_the_summary_of_an_earlier_run_is_replaced_also_without_its_run_folder(bench: Bench) -> None:
    run(bench, code=0)
    subprocess.run(["rm", "-r", "in.results.jsonl", "in.results.jsonl.run"], cwd=bench.folder, check=True)
    run(bench, code=0)
    assert bench.summary()["units"]["ok"] == 2


def test_a_link_in_the_place_of_an_output_is_refused_and_with_overwrite_replaced(bench: Bench) -> None:
    elsewhere = bench.folder / "elsewhere"
    elsewhere.write_text("precious")
    (bench.folder / "in.results.jsonl").symlink_to(elsewhere)
    run(bench, code=78)
    run(bench, "--overwrite", code=0)
    assert elsewhere.read_text() == "precious"
    assert not Path(bench.folder / "in.results.jsonl").is_symlink()


@pytest.mark.parametrize(
    ("mode", "variables", "words"),
    [
        (0o644, {}, "others may read the key file key"),
        (0o600, {"SSLKEYLOGFILE": "/dev/null"}, "SSLKEYLOGFILE is set"),
        (0o600, {"https_proxy": "http://me:password@proxy.invalid:1"}, "http://***@proxy.invalid:1"),
        (0o600, {}, None),
    ],
)
def test_what_endangers_the_key_is_told_once(
    bench: Bench, mode: int, variables: dict[str, str], words: str | None
) -> None:
    (bench.folder / "key").write_text("sk-0123456789abcdef")
    (bench.folder / "key").chmod(mode)
    bench.environment |= variables
    bench.prompts(1)
    at = ("-m", "m", "--base-url", "https://gateway.invalid/v1", "--max-outage", "0.1s")
    told = bench.run("in.jsonl", *at, "--api-key-file", "key", code=69).stderr
    assert told.count("warning: ") == (words is not None)
    assert words is None or told.count(words) == 1
    assert "password" not in told
    assert "warning" not in bench.run("in.jsonl", *at, "--api-key-file", "key", "-q", code=69).stderr


def test_a_model_that_a_row_names_paints_nothing_wherever_it_is_shown(bench: Bench, simulate: Simulate) -> None:
    name = "m\x1b]0;owned\x07\x9b31m\u202egnp\u2028"
    body = {"model": name, "messages": [{"role": "user", "content": "[[status 422]]"}], "max_tokens": 3}
    line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
    bench.write("in.jsonl", line, {**line, "custom_id": "b"})
    at = ("--base-url", simulate().base_url)
    done = [
        bench.call("run", "in.jsonl", *at, *options, code=None)
        for options in ((), ("--json",), ("-v", "--progress", "log"))
    ]
    commands = [("status", "in.results.jsonl"), ("limits", "show"), ("plan", "in.jsonl")]
    for command in commands:
        done += [bench.call(*command, code=None), bench.call(*command, "--json", code=None)]
    for one in done:
        words = one.stdout + one.stderr
        assert not set(words) & set("\x1b\x07\x9b\u202e\u2028"), one.args
        if "--json" in one.args:
            assert all(json.loads(line) for line in one.stdout.splitlines())
