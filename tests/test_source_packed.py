"""Packed inputs: gzip and zstd are unpacked while they are read, whole or not at all, however far they swell."""

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import rows_of, written

from batchrunner.errors import InputError
from batchrunner.source import open_source

MIB = 1024 * 1024
LINES = b"".join(
    b'{"id": "r%d", "q": "%s"}\n' % (number, hashlib.sha256(b"%d" % number).hexdigest().encode())
    for number in range(20_000)
)


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


PACKED = {".gz": gzip.compress, ".zst": zstd}
every_packing = pytest.mark.parametrize("suffix", PACKED)


@every_packing
def test_packed_lines_are_the_rows_they_hold(suffix: str, tmp_path: Path) -> None:
    packed = PACKED[suffix](LINES)
    path = written(tmp_path, packed, f"in.jsonl{suffix}")
    scan = open_source(str(path)).scan()
    assert (scan.rows, scan.fingerprint) == (20_000, hashlib.sha256(packed).hexdigest())
    assert scan.fingerprint == open_source(str(path)).fingerprint()
    assert [row.id for row in rows_of(path)] == [f"r{number}" for number in range(20_000)]


@every_packing
@pytest.mark.parametrize("name", ["in.ndjson", "in.json", "in.csv"])
def test_every_format_of_lines_may_be_packed(suffix: str, name: str, tmp_path: Path) -> None:
    content = b"q\n1\n" if name == "in.csv" else b'{"q": "1"}\n'
    (row,) = rows_of(written(tmp_path, PACKED[suffix](content), name + suffix))
    assert row.columns == {"q": "1"}


@every_packing
def test_several_packed_pieces_in_one_file_are_read_one_after_another(suffix: str, tmp_path: Path) -> None:
    pack = PACKED[suffix]
    path = written(tmp_path, pack(b'{"q": 1}\n{"q"') + pack(b': 2}\n{"q": 3}'), f"in.jsonl{suffix}")
    assert [row.columns["q"] for row in rows_of(path)] == [1, 2, 3]


@every_packing
@pytest.mark.parametrize("kept", [1, 11, 0.5, 0.99, -1])
def test_a_file_that_was_cut_off_is_refused_by_the_scan(suffix: str, kept: float, tmp_path: Path) -> None:
    packed = PACKED[suffix](LINES)
    cut = packed[: int(kept * len(packed)) if isinstance(kept, float) else kept]
    with pytest.raises(InputError, match=r"in\.jsonl\.\w+ is no whole \w+ file, but damaged or cut off"):
        open_source(str(written(tmp_path, cut, f"in.jsonl{suffix}"))).scan()


@every_packing
def test_a_file_that_is_not_what_its_name_says_is_refused(suffix: str, tmp_path: Path) -> None:
    for content in (b'{"q": 1}\n', PACKED[suffix](LINES) + b"more"):
        with pytest.raises(InputError, match="is no whole"):
            open_source(str(written(tmp_path, content, f"in.jsonl{suffix}"))).scan()


def test_bytes_that_changed_on_the_way_are_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(LINES))
    packed[-6] ^= 1
    with pytest.raises(InputError, match="is no whole gzip file"):
        open_source(str(written(tmp_path, bytes(packed), "in.jsonl.gz"))).scan()


@every_packing
def test_an_empty_packed_file_has_no_rows(suffix: str, tmp_path: Path) -> None:
    assert open_source(str(written(tmp_path, PACKED[suffix](b""), f"in.jsonl{suffix}"))).scan().rows == 0


SCAN = """
import re, resource, sys
from pathlib import Path
from batchrunner.source import open_source
def peak_mib():
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss is that of whoever started this process, where that was larger
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024**2
source = open_source(sys.argv[1])
rows = source.scan().rows
failures = [row.failure.message for batch in source.rows(lambda _: False, None) for row in batch if row.failure]
print(rows, peak_mib(), *failures)
"""


@every_packing
def test_a_bomb_is_one_failed_row_and_takes_little_memory(suffix: str, tmp_path: Path) -> None:
    bomb = PACKED[suffix](b'{"q": 1}\n{"q": "' + bytes(300 * MIB) + b'"}\n{"q": 3}\n')
    assert len(bomb) < MIB
    path = written(tmp_path, bomb, f"in.jsonl{suffix}")
    del bomb
    found = subprocess.run([sys.executable, "-c", SCAN, path], capture_output=True, check=True, text=True)
    rows, peak_mib, *failure = found.stdout.split()
    assert (rows, " ".join(failure)) == ("3", "line 2: longer than 16 MiB")
    assert int(peak_mib) < 220
