"""Input columns that the output has, too: with every format, for failed rows, and when a run is gone on with."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Bench, Gateway, Simulate

MODEL = ("-m", "acme/small")
ROWS = [
    {"id": "a", "prompt": "1", "n": 1, "score": 0.5, "tags": ["x"], "fine": True, "mixed": "one"},
    {"id": "b", "prompt": "2 [[status:422]]", "n": 2, "score": 2, "tags": [], "fine": False, "mixed": 2},
    {"id": "c", "prompt": "3", "n": None, "score": None, "tags": None, "fine": None, "mixed": None},
]
KEPT = ("n", "score", "tags", "fine", "mixed")
BROKEN = "{no json"


def kept_in(row: dict[str, Any]) -> dict[str, Any]:
    """What a row has behind the native columns."""
    names = list(row)
    return {name: row[name] for name in names[names.index("finished_at") + 1 :]}


@pytest.fixture
def gateway(simulate: Simulate) -> Gateway:
    """A gateway without latency."""
    return simulate()


def test_named_columns_stand_behind_the_native_ones_of_every_row(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", *ROWS, BROKEN)
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--keep", "n", "--keep", "id", code=1)
    rows = bench.output()
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "failed"]
    assert [kept_in(row) for row in rows] == [
        {"n": 1, "input.id": "a"},
        {"n": 2, "input.id": "b"},
        {"n": None, "input.id": "c"},
        {"n": None, "input.id": None},
    ]


def test_every_column_is_kept_under_a_name_that_is_free(bench: Bench, gateway: Gateway) -> None:
    row = {
        "id": "a",
        "input.id": 1,
        "prompt": "?",
        "raw": {"x": [1]},
        "ID": 2,
        "status": None,
        "inputs": 3,
        "big": 2**70,
    }
    bench.write("in.jsonl", row, BROKEN)
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--keep", "all", code=1)
    first, second = bench.output()
    names = {"id": "input.id", "input.id": "input.input.id", "raw": "input.raw", "status": "input.status"}
    assert kept_in(first) == {names.get(name, name): value for name, value in row.items()}
    assert kept_in(second) == {}


def test_the_job_file_names_them_and_templates_may_use_them(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"q": "why", "a": "so"}, {"q": "how", "a": "thus"})
    text = 'input = "in.jsonl"\noutput = "out.jsonl"\nkeep = ["q", "a"]\n[request]\nprompt = "{{ q }}?"\n'
    (bench.folder / "job.toml").write_text(text)
    bench.run("job.toml", *MODEL, "--base-url", gateway.base_url)
    assert [kept_in(row) for row in bench.output("out.jsonl")] == [{"q": "why", "a": "so"}, {"q": "how", "a": "thus"}]


def test_a_table_has_the_types_that_all_values_of_a_column_have(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", *ROWS)
    keep = [word for name in KEPT for word in ("--keep", name)]
    bench.run("in.jsonl", *MODEL, "--base-url", gateway.base_url, *keep, "-o", "out.parquet", code=1)
    table = pq.read_table(bench.folder / "out.parquet").select(KEPT)
    assert [str(kind) for kind in table.schema.types] == ["int64", "double", "string", "bool", "string"]
    assert table.to_pylist() == [
        {"n": 1, "score": 0.5, "tags": '["x"]', "fine": True, "mixed": '"one"'},
        {"n": 2, "score": 2.0, "tags": "[]", "fine": False, "mixed": "2"},
        dict.fromkeys(KEPT),
    ]


def test_a_parquet_input_s_columns_keep_their_types(bench: Bench, gateway: Gateway) -> None:
    kinds = {
        "small": pa.int8(),
        "large": pa.uint64(),
        "share": pa.float32(),
        "when": pa.timestamp("ns", "Europe/Berlin"),
        "day": pa.date32(),
        "price": pa.decimal128(10, 2),
        "tags": pa.list_(pa.string()),
        "point": pa.struct([("x", pa.int32()), ("y", pa.list_(pa.float64()))]),
        "kind": pa.dictionary(pa.int32(), pa.string()),
        "empty": pa.null(),
        "names": pa.map_(pa.string(), pa.int32()),
        "at": pa.time64("us"),
    }
    values = {
        "small": [1, -5],
        "large": [2**64 - 1, 0],
        "share": [0.1, None],
        "when": [1_700_000_000_123_456_789, -(10**18)],
        "day": [19_000, -40_000],
        "price": None,
        "tags": [["a"], []],
        "point": [{"x": 1, "y": [0.5]}, None],
        "kind": ["x", None],
        "empty": [None, None],
        "names": [[("a", 1)], []],
        "at": [1, None],
    }
    columns = {name: pa.array(value, kinds[name]) for name, value in values.items() if value is not None}
    columns["price"] = pa.array(["1.10", "-3.00"]).cast(kinds["price"])
    table = pa.table({"prompt": ["a", "b"], **columns})
    pq.write_table(table, bench.folder / "in.parquet")
    bench.run("in.parquet", *MODEL, "--base-url", gateway.base_url, "--keep", "all", "-o", "out.parquet")
    found = pq.read_table(bench.folder / "out.parquet")
    same = ("small", "large", "share", "day", "price", "tags", "point")
    assert found.select(same).to_pylist() == table.select(same).to_pylist()
    assert [found.schema.field(name).type for name in same] == [kinds[name] for name in same]
    assert found.schema.field("when").type == pa.timestamp("us", "Europe/Berlin")
    assert found["when"].to_pylist() == table["when"].cast(pa.timestamp("us", "Europe/Berlin"), safe=False).to_pylist()
    assert found["kind"].to_pylist() == ["x", None]
    assert found["empty"].to_pylist() == [None, None]
    assert [found["names"][0].as_py(), found["at"][0].as_py()] == ['[["a",1]]', "00:00:00.000001"]


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.parquet"])
def test_a_misspelt_column_is_told_with_the_nearest_before_anything_is_sent(
    bench: Bench, gateway: Gateway, name: str
) -> None:
    bench.write("in.jsonl", *({"prompt": "?", "question": "?"} for _ in range(150)))
    (bench.folder / "in.csv").write_text("prompt,question\n?,?\n")
    pq.write_table(pa.table({"prompt": ["?"], "question": ["?"]}), bench.folder / "in.parquet")
    told = bench.run(name, *MODEL, "--base-url", gateway.base_url, "--keep", "qestion", code=78).stderr
    assert "keep names the column 'qestion', which the input does not have; did you mean 'question'?" in told
    assert gateway.ledger()["arrivals"] == 0


def test_going_on_with_other_columns_is_told_and_may_be_wanted(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", *ROWS)
    job = ("in.jsonl", *MODEL, "--base-url", gateway.base_url)
    bench.run(*job, "--keep", "n", code=1)
    before = (bench.folder / "in.results.jsonl").read_bytes()
    for keep in ((), ("--keep", "n", "--keep", "score"), ("--keep", "n", "--raw")):
        told = bench.run(*job, *keep, code=65).stderr
        assert "told otherwise about" in told
        assert "--on-drift keep" in told
    assert (bench.folder / "in.results.jsonl").read_bytes() == before
    bench.write("in.jsonl", *ROWS, {"id": "d", "prompt": "4", "score": 4})
    bench.run(*job, "--keep", "score", "--on-drift", "keep", code=1)
    assert [kept_in(row) for row in bench.output()] == [{"n": 1}, {"n": 2}, {"n": None}, {"score": 4}]
    bench.run(*job, "--keep", "score", code=1)
    assert gateway.ledger()["arrivals"] == 4


def test_rows_asked_again_have_their_columns_and_exports_all(bench: Bench, simulate: Simulate) -> None:
    gateway = simulate("--fault", "5xx=0.5", "--seed", "3")
    bench.write("in.jsonl", *({"id": f"r{n}", "prompt": f"{n}", "n": n} for n in range(30)))
    job = ("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--attempts", "1", "--keep", "n", "--max-failed", "none")
    bench.run(*job, code=1)
    bench.call("retry", "in.results.jsonl", code=1)
    assert [kept_in(row) for row in bench.output()] == [{"n": n} for n in range(30)]
    bench.call("export", "in.results.jsonl", "-o", "out.parquet")
    assert pq.read_table(bench.folder / "out.parquet")["n"].to_pylist() == list(range(30))


def test_units_of_a_sweep_and_several_jobs_have_the_columns_of_their_rows(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"prompt": "a", "n": 1}, {"prompt": "b", "n": 2})
    for name in ("one", "two"):
        job = f'input = "in.jsonl"\noutput = "{name}.jsonl"\nkeep = "all"\n[sweep]\nmodel = ["a", "b"]\nsamples = 2\n'
        (bench.folder / f"{name}.toml").write_text(job)
    bench.run("one.toml", "two.toml", "--base-url", gateway.base_url)
    for name in ("one", "two"):
        assert [row["n"] for row in bench.output(f"{name}.jsonl")] == [1] * 4 + [2] * 4
    (bench.folder / "one.toml").write_text((bench.folder / "one.toml").read_text().replace('"b"', '"c", "b"'))
    bench.run("one.toml", "--base-url", gateway.base_url)
    assert [row["n"] for row in bench.output("one.jsonl")] == [1] * 6 + [2] * 6


@pytest.mark.parametrize("suffix", ["", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_parts_have_them_and_read_back_as_they_were(bench: Bench, gateway: Gateway, suffix: str) -> None:
    rows = [{"id": f"r{n}", "prompt": f"{n}", "n": n, "x": [n, None], "text": f"t\n{n}"} for n in range(50)]
    bench.write("in.jsonl", *rows)
    job = ("in.jsonl", *MODEL, "--base-url", gateway.base_url, "--keep", "all", "--raw", "--part-rows", "20")
    bench.run(*job, "-o", f"out{suffix}/")
    bench.write("in.jsonl", *rows, {"id": "new", "prompt": "?", "n": "no number", "x": None, "text": None})
    bench.run(*job, "-o", f"out{suffix}/")
    assert gateway.ledger()["arrivals"] == 51
    assert len(list((bench.folder / f"out{suffix}").glob("part-*"))) == 3
    bench.call("export", f"out{suffix}", "-o", "all.jsonl")
    kept = [kept_in(row) for row in bench.output("all.jsonl")]
    assert [(row["n"], row["x"], row["text"]) for row in kept[:50]] == [(r["n"], r["x"], r["text"]) for r in rows]
    assert kept[50]["n"] == "no number"
    assert all(row["raw"]["choices"][0]["message"]["content"] for row in kept)
    if suffix == ".parquet":
        schemas = {str(pq.read_schema(path)) for path in (bench.folder / "out.parquet").glob("part-*")}
        assert len(schemas) == 1
        numbers = pq.read_table(bench.folder / "out.parquet")["n"].to_pylist()
        assert numbers == [str(n) for n in range(50)] + ['"no number"']


def test_the_columns_of_a_parquet_input_come_through_parts(bench: Bench, gateway: Gateway, tmp_path: Path) -> None:
    day = pa.array([19_000, None, 3], pa.date32())
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "day": day}), bench.folder / "in.parquet")
    job = ("in.parquet", *MODEL, "--base-url", gateway.base_url, "--keep", "day")
    bench.run(*job, "-o", "out.parquet/")
    assert pq.read_table(bench.folder / "out.parquet")["day"].combine_chunks().equals(day)
    bench.call("export", "out.parquet", "-o", tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [json.loads(line)["day"] for line in lines] == ["2022-01-08", None, "1970-01-04"]


def test_a_program_keeps_columns_and_hears_of_them(bench: Bench, gateway: Gateway) -> None:
    bench.write("in.jsonl", {"prompt": "a", "messages": None, "n": 1})
    (bench.folder / "program.py").write_text(
        "import asyncio, json, sys, batchrunner\n"
        "async def main():\n"
        "    options = {'model': 'm/m', 'base_url': sys.argv[1], 'keep': ['n', 'messages'], 'raw': True}\n"
        "    options |= {'request': lambda row: [{'role': 'user', 'content': row['prompt']}]}\n"
        "    async with batchrunner.Runner('in.jsonl', **options) as runner:\n"
        "        async for one in runner:\n"
        "            print(json.dumps([json.loads(bytes(one.kept)), json.loads(bytes(one.raw))['object']]))\n"
        "asyncio.run(main())\n"
    )
    told = bench.python("program.py", gateway.base_url).stdout
    assert json.loads(told) == [{"n": 1, "messages": None}, "chat.completion"]
    assert kept_in(bench.output()[0]) | {"raw": None} == {"raw": None, "n": 1, "messages": None}
