"""The README is true: what it lists is what the code has."""

import re
from pathlib import Path

import click
import pytest

from batchrunner.chat.expecting import Expectations
from batchrunner.chat.verdict import TABLE
from batchrunner.cli import main
from batchrunner.cli.exits import BUG, CODE_OF_ERROR
from batchrunner.cli.run import run
from batchrunner.folder.ending import CODE_OF_END
from batchrunner.job.load import parse_job
from batchrunner.records import Outcome
from batchrunner.report.plan import DayPlan, LanePlan, Plan, UntilPlan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def verdicts() -> str:
    """The table of kinds and verdicts, as it must stand in the README."""
    rows = [f"| `{kind}` | {verdict.value} |" for kind, verdict in TABLE.items()]
    return "\n".join(["| kind | verdict |", "| --- | --- |", *rows])


def test_the_table_of_verdicts_is_printed_from_the_code() -> None:
    found = re.search(r"<!-- verdicts -->\n(.*?)\n<!-- /verdicts -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == verdicts()


def test_every_option_of_run_is_listed() -> None:
    options = {option for parameter in run.params for option in parameter.opts if option.startswith("--")}
    assert {option for option in options if f"{option}" not in README} == set()


def test_every_exit_code_is_listed() -> None:
    table = README.split("### Exit codes")[1].split("The first SIGINT")[0]
    codes = {int(code) for code in re.findall(r"\b\d{1,3}\b(?=[ ,|])", table)}
    assert {*CODE_OF_END.values(), *CODE_OF_ERROR.values(), BUG} <= codes


def test_every_column_of_the_output_is_listed() -> None:
    table = README.split("### Output")[1].split("### Options")[0]
    assert {name for name in Outcome.__struct_fields__ if f"`{name}`" not in table} == set()


def test_the_job_file_is_one() -> None:
    jobs = README.split("### Job files")[1]
    (content,) = re.findall(r"```toml\n(.*?)```", jobs, re.DOTALL)
    assert parse_job(content.encode(), name="README").request.model == "acme/llama-3-70b"


def test_the_schema_of_the_readme_is_one() -> None:
    content = README.split("### JSON answers")[1].split("```toml\n")[1].split("```")[0]
    job = parse_job(b'input = "a.jsonl"\n' + content.encode(), name="README")
    assert Expectations().of(job.request.response_format) is not None


NAMES = ["export", "init", "limits", "plan", "probe", "report", "retry", "run", "simulate", "status", "view"]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_examples(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert "Examples:" in str(command.epilog)


def test_the_picture_names_every_room() -> None:
    picture = README.split("## The house")[1].split("```")[1]
    rooms = {
        path.name
        for path in (ROOT / "batchrunner").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    assert {room for room in rooms if room not in picture} == set()


def test_the_makefile_is_the_front_door() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for verb in re.findall(r"(?:`|^)make (\w+)", README, re.MULTILINE):
        assert f"\n{verb}:" in makefile


def test_every_key_of_a_plan_is_listed() -> None:
    table = README.split("### Plan")[1].split("### Go on")[0]
    keys = {name for record in (Plan, LanePlan, DayPlan, UntilPlan) for name in record.__struct_fields__}
    assert {name for name in keys if f"`{name}`" not in table} == set()
