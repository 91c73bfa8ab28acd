"""What people read answers with finds in our files what is in them: datasets, pandas, polars and DuckDB."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Bench, simulating

Rows = list[dict[str, Any]]
Read = Callable[[Path], Rows]
FORMATS = ("out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet", "parts.parquet", "parts.jsonl.gz")
ROWS = [
    {"id": "a", "prompt": "Wörter 1", "n": 1, "score": 0.5, "tags": ["x"], "fine": True},
    {"id": "b", "prompt": "2 [[status:422]]", "n": 2, "score": 2.5, "tags": ["y"], "fine": False},
    *({"id": f"r{n}", "prompt": f"{n}", "n": n, "score": n + 0.25, "tags": ["z"], "fine": True} for n in range(3, 60)),
]
ANSWER = '{ type = "object", properties = { answer = { type = "integer" } }, required = ["answer"] }'
JOB = f"""
input = "in.jsonl"
keep = ["id", "n", "score", "tags", "fine"]
[request]
model = "acme/small"
[request.response_format]
type = "json_schema"
json_schema = {{ name = "solution", schema = {ANSWER} }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same rows in every format."""
    folder = tmp_path_factory.mktemp("readers")
    bench = Bench(folder, {**os.environ, "BATCHRUNNER_API_KEY": "k", "BATCHRUNNER_STATE_DIR": str(folder / "state")})
    bench.write("in.jsonl", *ROWS)
    (folder / "job.toml").write_text(JOB)
    with simulating() as gateway:
        bench.run("job.toml", "--base-url", gateway.base_url, code=1)
        for name in FORMATS[4:]:
            options = ("-o", f"{name}/", "--part-rows", "25")
            bench.run("job.toml", "--base-url", gateway.base_url, *options, code=1)
    for name in FORMATS[:4]:
        bench.call("export", "job.toml", "-o", name)
    return folder


def files_in(path: Path) -> list[str]:
    """A file, or those of a folder of parts."""
    return sorted(map(str, path.glob("part-*"))) if path.is_dir() else [str(path)]


def by_pandas(path: Path) -> Rows:
    import pandas as pd  # noqa: PLC0415 - each of these takes a second

    if path.suffix == ".parquet":
        return pd.read_parquet(path, dtype_backend="pyarrow").to_dict("records")
    tables = [pd.read_json(one, lines=True, convert_dates=False, dtype=False) for one in files_in(path)]
    return [row for table in tables for row in table.to_dict("records")]


def by_polars(path: Path) -> Rows:
    import polars as pl  # noqa: PLC0415

    if path.suffix == ".parquet":
        return pl.concat([pl.read_parquet(one) for one in files_in(path)]).to_dicts()
    return [row for one in files_in(path) for row in pl.scan_ndjson(one).collect().to_dicts()]


def by_duckdb(path: Path) -> Rows:
    import duckdb  # noqa: PLC0415

    read = "read_parquet" if path.suffix == ".parquet" else "read_json_auto"
    with duckdb.connect() as db:
        found = db.execute(f"SELECT * FROM {read}({files_in(path)}) ORDER BY row")  # noqa: S608 - our own names
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def by_datasets(path: Path) -> Rows:
    import datasets  # noqa: PLC0415

    datasets.disable_progress_bars()
    kind = "parquet" if path.suffix == ".parquet" else "json"
    cache = str(path.parent / "cache")
    return datasets.load_dataset(kind, data_files=files_in(path), split="train", cache_dir=cache).to_list()


READERS: dict[str, Read] = {"pandas": by_pandas, "polars": by_polars, "duckdb": by_duckdb, "datasets": by_datasets}


def told(row: dict[str, Any]) -> dict[str, Any]:
    """What the tests compare of a row, whatever form the reader gives it: text that is JSON read, times left out."""
    found = {}
    for name in ("id", "row", "status", "response", "parsed", "error", "usage", "attempts", "n", "score", "fine"):
        value = row[name]
        found[name] = None if value is None or value != value else value  # noqa: PLR0124 - pandas has NaN for nothing
    tags = row["tags"]
    found["tags"] = json.loads(tags) if isinstance(tags, str) else list(tags)
    found["input.id"] = row["input.id"]
    return found


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore")  # of theirs
def test_every_reader_finds_the_same_rows(folder: Path, reader: str, name: str) -> None:
    lines = (folder / "in.results.jsonl").read_text().splitlines()
    expected = [told(json.loads(line)) for line in lines]
    assert len(expected) == len(ROWS)
    assert expected[0]["parsed"] == {"answer": 7}
    assert [told(row) for row in READERS[reader](folder / name)] == expected
