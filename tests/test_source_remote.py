"""Inputs in a store, read from a real server that speaks S3, on loopback."""

import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Bench, Simulate

from batchrunner.errors import UsageError
from batchrunner.source import open_source
from batchrunner.source.remote import is_remote

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""
LOOK = """
import json, sys
from batchrunner.source import open_source
for place in sys.argv[1:]:
    try:
        source = open_source(place)
        scan = source.scan()
        rows = [row.columns for batch in source.rows(lambda _: False, None) for row in batch]
        names = [file.name for file in source.files]
        print(json.dumps([names, scan.rows, rows, scan.fingerprint, source.fingerprint()]))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


class Store:
    """A server that speaks S3, with one bucket named `bucket`."""

    def __init__(self, port: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.put("", b"")

    def put(self, key: str, content: bytes) -> None:
        """Put an object; without a key make the bucket."""
        headers = {
            "Content-Type": "application/octet-stream",  # else the server takes it for a form
            "Authorization": "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request",
        }
        request = urllib.request.Request(f"{self.url}/bucket/{key}", content, headers, method="PUT")  # noqa: S310
        urllib.request.urlopen(request).close()  # noqa: S310 - loopback


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """The server, for all tests of this file."""
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            yield Store(server.stdout.readline().strip())
        finally:
            server.stdin.close()


def look(bench: Bench, store: Store, *places: str) -> list[Any]:
    """What each place is: names, rows counted, rows, two fingerprints; or its error."""
    found = subprocess.run(
        [sys.executable, "-c", LOOK, *places],
        env=bench.environment | store.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_an_object_a_folder_and_globs_are_read_as_if_they_were_here(bench: Bench, store: Store) -> None:
    for key in ("data/a.jsonl", "data/b.jsonl", "data/deep/c.jsonl", "data/README.md", "data/_apart.jsonl"):
        store.put(key, json.dumps({"q": key}).encode())
    table = io.BytesIO()
    pq.write_table(pa.table({"id": ["x", "y"], "q": ["1", "2"]}), table)
    store.put("tables/t.parquet", table.getvalue())
    places = ("data/a.jsonl", "data", "data/", "data/b*", "data/**/*.jsonl", "tables/*.parquet", "none.jsonl", "none/*")
    one, folder, slash, some, deep, tables, *missing = look(bench, store, *(f"s3://bucket/{place}" for place in places))
    assert one[:3] == [["a.jsonl"], 1, [{"q": "data/a.jsonl"}]]
    assert folder[:2] == slash[:2] == [["a.jsonl", "b.jsonl"], 2]
    assert some[0] == ["b.jsonl"]
    assert deep[0] == ["a.jsonl", "b.jsonl", "deep/c.jsonl"]
    assert tables[2] == [{"id": "x", "q": "1"}, {"id": "y", "q": "2"}]
    assert all(found[3] == found[4] for found in (one, folder, some, deep, tables))
    assert "InputError: s3://bucket/none.jsonl doesn't exist" in missing[0]
    assert "InputError: s3://bucket/none/* has no data" in missing[1]


def test_a_run_over_a_bucket_goes_on_where_it_stopped_and_sees_drift(
    bench: Bench, store: Store, simulate: Simulate
) -> None:
    gateway = simulate()
    bench.environment |= store.environment
    store.put("run/1.jsonl", b'{"prompt": "one"}\nbroken\n')
    store.put("run/2.jsonl", b'{"prompt": "two"}\n')
    job = ("s3://bucket/run", "-m", "m/m", "--base-url", gateway.base_url, "-o", "out.jsonl")
    bench.run(*job, "--limit", "2", code=1)
    assert [row["status"] for row in bench.output("out.jsonl")] == ["ok", "failed"]
    assert "1.jsonl, line 2: not a JSON object" in bench.output("out.jsonl")[1]["error"]["message"]
    bench.run(*job, code=1)
    assert gateway.ledger()["arrivals"] == 2
    store.put("run/2.jsonl", b'{"prompt": "zwei"}\n')
    assert "1 changed" in bench.run(*job, code=65).stderr


def test_an_output_beside_a_url_is_asked_for(bench: Bench) -> None:
    assert (
        "name the output with --output" in bench.run("s3://bucket/a.jsonl", "-m", "m/m", "--simulate", code=78).stderr
    )


def test_a_scheme_that_needs_an_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("s3fs", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, module, None)
    for url, extra in (("s3://b/k.jsonl", "s3"), ("gs://b/k.jsonl", "gcs"), ("hf://datasets/a/k.jsonl", "hf")):
        with pytest.raises(UsageError, match=rf"pip install 'batchrunner\[{extra}\]'"):
            open_source(url)
    with pytest.raises(UsageError, match="no scheme that an input can be read from"):
        open_source("nowhere://b/k.jsonl")


def test_a_path_is_no_url(tmp_path: Path) -> None:
    assert not any(map(is_remote, (str(tmp_path), "a:b", "//host/path", "x.jsonl", "://x")))
    assert all(map(is_remote, ("s3://b", "hf://datasets/x", "S3://b/k")))
