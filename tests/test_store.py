"""The run folder's files: what is committed stays, what is damaged is told, marks and locks outlive nothing wrongly."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import LockedError, StorageError
from batchrunner.records import ErrorColumn, Failure, Kind, Outcome, Try, Usage
from batchrunner.store.bitmap import Bitmap
from batchrunner.store.database import Store
from batchrunner.store.lock import RunLock
from batchrunner.store.marks import Marks
from batchrunner.store.reading import read_store
from batchrunner.store.rows import Entry
from batchrunner.store.schema import VERSION
from batchrunner.store.summing import DayUsage

NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in an empty folder."""
    opened = Store(tmp_path)
    yield opened
    opened.close()


def answered(number: int, response: str = "x") -> Outcome:
    """A unit that was answered."""
    return Outcome(id=str(number), row=number, status="ok", response=response)


def failed(number: int, kind: Kind) -> Outcome:
    """A unit that failed."""
    error = ErrorColumn(kind=kind, status=500, message="no")
    return Outcome(id=str(number), row=number, status="failed", error=error)


def tried(number: int, *, kind: Kind | None = None, tokens: int = 0, sent_at: float = NOON) -> Try:
    """A try of a unit."""
    return Try(
        number=number,
        sent_at=sent_at,
        latency_s=0.5,
        failure=None if kind is None else Failure(kind=kind, message="no", status=429),
        usage=Usage(prompt_tokens=tokens, completion_tokens=2 * tokens, cached_tokens=1) if tokens else None,
        finish_reason="stop" if kind is None else None,
    )


def commit(store: Store, pairs: Iterable[tuple[Try | None, Outcome | None]]) -> None:
    """Commit tries and outcomes."""
    store.commit([Entry(*pair) for pair in pairs])


def python(code: str, *arguments: object) -> list[str]:
    """The command that runs this code in a process of its own."""
    return [sys.executable, "-c", code, *map(str, arguments)]


def bodies(store: Store, end: int) -> Iterator[bytes]:
    """The output rows of the units below `end`, in order."""
    return (body for _, body in store.bodies(0, end))


def numbers(rows: Iterator[bytes]) -> list[int]:
    """The rows' numbers."""
    return [json.loads(row)["row"] for row in rows]


def test_what_was_committed_is_there_after_reopening(tmp_path: Path, store: Store) -> None:
    outcomes = [answered(3, "drei\n\x00é𝄞"), failed(1, Kind.REJECTED)]
    commit(store, [(tried(3), outcomes[0]), (tried(1, kind=Kind.REJECTED), outcomes[1]), (tried(2), None)])
    store.remember("colour", "green")
    store.close()
    again = Store(tmp_path)
    assert sorted(again.ended()) == [1, 3]
    assert list(bodies(again, 10)) == [msgspec.json.encode(outcomes[1]), msgspec.json.encode(outcomes[0])]
    assert again.totals(10).sums.tries == 3
    assert again.fact("colour") == "green"
    again.close()


def test_what_was_committed_survives_a_hard_kill_and_what_was_not_is_not_there(tmp_path: Path) -> None:
    code = """if True:
        import os, signal, sys, pathlib
        from batchrunner.records import Outcome
        from batchrunner.store.database import Store
        from batchrunner.store.rows import Entry
        store = Store(pathlib.Path(sys.argv[1]))
        store.commit([Entry(outcome=Outcome(id=str(n), row=n, status="ok")) for n in range(500)])
        store._db.execute("BEGIN IMMEDIATE")
        store._db.executemany("DELETE FROM units WHERE number = ?", [(n,) for n in range(100)])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run(python(code, tmp_path), check=False).returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert numbers(bodies(store, 1000)) == list(range(500))
    store.close()


def test_every_commit_waits_for_the_disk(store: Store) -> None:
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)  # noqa: SLF001 - FULL, of this connection only
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)  # noqa: SLF001 - likewise


def test_a_commit_is_whole_or_not_at_all(store: Store) -> None:
    commit(store, [(tried(1), answered(1))])
    with pytest.raises(StorageError):
        commit(store, [(tried(2), answered(2)), (tried(1), answered(1))])
    assert sorted(store.ended()) == [1]
    assert store.totals(10).sums.tries == 1
    commit(store, [(tried(2), answered(2))])
    assert sorted(store.ended()) == [1, 2]


def test_an_empty_commit_is_nothing(store: Store) -> None:
    commit(store, [])
    assert list(store.ended()) == []


def test_outcomes_come_in_order_and_below_the_total_only(store: Store) -> None:
    order = random.Random(1).sample(range(1500), 1500)
    commit(store, [(None, answered(number)) for number in order])
    assert numbers(bodies(store, 1200)) == list(range(1200))
    assert numbers(bodies(store, 0)) == []


def test_totals_count_units_below_the_total_and_every_try(store: Store) -> None:
    commit(
        store,
        [
            (tried(0, tokens=10), answered(0)),
            (tried(1, kind=Kind.RATE_LIMITED), None),
            (tried(1, kind=Kind.TIMEOUT), None),
            (tried(1, tokens=5), answered(1)),
            (tried(2, kind=Kind.SERVER_ERROR), failed(2, Kind.SERVER_ERROR)),
            (None, failed(3, Kind.INVALID_ROW)),
            (tried(9, kind=Kind.TIMEOUT, tokens=1), failed(9, Kind.TIMEOUT)),
        ],
    )
    totals = store.totals(5)
    assert (totals.ok, totals.failed, totals.sums.tries) == (2, 2, 6)
    assert (totals.sums.prompt_tokens, totals.sums.completion_tokens, totals.sums.cached_tokens) == (16, 32, 3)
    assert totals.sums.reasoning_tokens == 0
    assert totals.failures == {"rate_limited": 1, "timeout": 2, "server_error": 1}
    assert totals.failed_units == {"server_error": 1, "invalid_row": 1}
    assert totals.finish_reasons == {"stop": 2}


def test_totals_of_an_empty_store_are_nothing(store: Store) -> None:
    totals = store.totals(100)
    assert (totals.ok, totals.failed, totals.sums.tries, totals.sums.prompt_tokens) == (0, 0, 0, 0)
    assert totals.failures == {}


def test_sums_of_tokens_beyond_64_bits_do_not_break_the_totals(store: Store) -> None:
    big = Usage(prompt_tokens=2**62)
    commit(store, [(msgspec.structs.replace(tried(n), usage=big), None) for n in range(4)])
    assert store.totals(10).sums.prompt_tokens == 2**64


def test_usage_is_told_by_the_utc_day_on_which_it_was_sent(store: Store) -> None:
    commit(
        store,
        [
            (tried(0, tokens=1, sent_at=NOON), None),
            (tried(0, tokens=2, sent_at=NOON + 12 * 3600 - 0.001), None),
            (tried(0, tokens=4, sent_at=NOON + 12 * 3600), None),
        ],
    )
    assert store.totals(10).by_day == {
        "2026-11-23": DayUsage(tries=2, prompt_tokens=3, completion_tokens=6, cost=None, tries_without_cost=2),
        "2026-11-24": DayUsage(tries=1, prompt_tokens=4, completion_tokens=8, cost=None, tries_without_cost=1),
    }


def test_a_unit_that_is_reopened_is_pending_and_keeps_its_tries(store: Store) -> None:
    commit(store, [(tried(n), answered(n)) for n in range(5)])
    store.reopen([1, 3, 77])
    assert sorted(store.ended()) == [0, 2, 4]
    assert store.totals(5).sums.tries == 5
    commit(store, [(tried(3), answered(3))])
    assert sorted(store.ended()) == [0, 2, 3, 4]


def test_a_reopening_that_breaks_off_changes_nothing(store: Store) -> None:
    def breaks_off() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    commit(store, [(None, answered(1))])
    with pytest.raises(ZeroDivisionError):
        store.reopen(breaks_off())
    commit(store, [(None, answered(2))])
    assert sorted(store.ended()) == [1, 2]


def test_facts_are_replaced(store: Store) -> None:
    assert store.fact("colour") is None
    store.remember("colour", "green")
    store.remember("colour", "röd\n")
    assert store.fact("colour") == "röd\n"


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path, store: Store) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "run.sqlite") as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    db.close()
    with pytest.raises(StorageError, match=r"newer batchrunner.*--resume never"):
        Store(tmp_path)


@pytest.mark.parametrize("content", [b"no database " * 100, b"\x00" * 5000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.sqlite").write_bytes(content)
    with pytest.raises(StorageError, match=r"run\.sqlite"):
        Store(tmp_path)
    assert (tmp_path / "run.sqlite").read_bytes() == content


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"run\.sqlite"):
        Store(tmp_path / "nowhere")


def test_a_damaged_store_is_a_storage_error_wherever_it_is_read(tmp_path: Path, store: Store) -> None:
    commit(store, [(tried(n), answered(n, "x" * 500)) for n in range(2000)])
    store.close()
    content = bytearray((tmp_path / "run.sqlite").read_bytes())
    content[20_000:-4096] = random.Random(1).randbytes(len(content) - 4096 - 20_000)
    (tmp_path / "run.sqlite").write_bytes(content)
    damaged = Store(tmp_path)
    for read in (
        lambda: list(damaged.ended()),
        lambda: list(bodies(damaged, 5000)),
        lambda: damaged.totals(5000),
        lambda: commit(damaged, [(tried(n), answered(n)) for n in range(5000, 5100)]),
        lambda: damaged.reopen(range(2000)),
    ):
        with pytest.raises(StorageError, match="malformed"):
            read()
    damaged.close()


def test_a_disk_that_is_full_is_told_in_plain_words_and_nothing_committed_is_lost(tmp_path: Path) -> None:
    code = """if True:
        import pathlib, resource, sys
        from batchrunner.errors import StorageError
        from batchrunner.records import Outcome
        from batchrunner.store.database import Store
        from batchrunner.store.rows import Entry
        store = Store(pathlib.Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        try:
            for n in range(100):
                store.commit([Entry(outcome=Outcome(id=str(n), row=n, status="ok", response="x" * 20_000))])
                print(n)
        except StorageError as error:
            print(error, file=sys.stderr)
    """
    told = subprocess.run(python(code, tmp_path), check=True, capture_output=True, text=True)
    assert "run.sqlite can't be used" in told.stderr
    committed = list(map(int, told.stdout.split()))
    assert 0 < len(committed) < 100
    store = Store(tmp_path)
    assert numbers(bodies(store, 100)) == committed
    store.close()


def test_only_the_user_can_read_what_stands_in_a_run_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store, marks, lock = Store(tmp_path), Marks(tmp_path / "marks"), RunLock(tmp_path)
        commit(store, [(None, answered(1))])
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()
    marks.close()
    lock.release()


def test_marks_are_set_and_cleared(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    assert marks.units() == []
    slots = {unit: marks.set(unit) for unit in (5, 0, 2**40)}
    assert marks.units() == [0, 5, 2**40]
    marks.clear(slots[5])
    assert marks.units() == [0, 2**40]
    marks.close()


def test_marks_left_behind_are_found_and_not_overwritten(tmp_path: Path) -> None:
    earlier = Marks(tmp_path / "marks")
    earlier.set(3)
    earlier.set(4)
    earlier.close()
    marks = Marks(tmp_path / "marks")
    assert marks.units() == [3, 4]
    for unit in range(100, 5000):
        marks.set(unit)
    assert marks.units() == [3, 4, *range(100, 5000)]
    marks.clear_all()
    assert marks.units() == []
    marks.set(9)
    marks.close()
    again = Marks(tmp_path / "marks")
    assert again.units() == [9]
    again.close()


def test_there_is_room_for_more_marks_than_at_first(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    slots = [marks.set(unit) for unit in range(20_000)]
    assert len(set(slots)) == 20_000
    for slot in slots[::2]:
        marks.clear(slot)
    assert marks.units() == list(range(1, 20_000, 2))
    marks.close()
    again = Marks(tmp_path / "marks")
    assert again.units() == list(range(1, 20_000, 2))
    again.close()


def test_marks_survive_a_hard_kill_of_the_process_that_set_them(tmp_path: Path) -> None:
    code = """if True:
        import os, signal, sys, pathlib
        from batchrunner.store.marks import Marks
        marks = Marks(pathlib.Path(sys.argv[1]))
        slots = [marks.set(unit) for unit in range(6000)]
        for slot in slots[10:]:
            marks.clear(slot)
        marks.set(7777)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "marks"
    assert subprocess.run(python(code, path), check=False).returncode == -signal.SIGKILL
    marks = Marks(path)
    assert marks.units() == [*range(10), 7777]
    marks.close()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 4096 * 8, 4096 * 8 + 1, 100_001])
def test_a_marks_file_of_any_size_can_be_opened(tmp_path: Path, size: int) -> None:
    (tmp_path / "marks").write_bytes(bytes(size))
    marks = Marks(tmp_path / "marks")
    marks.set(1)
    assert marks.units() == [1]
    marks.close()


def test_no_room_on_the_disk_for_more_marks_is_a_storage_error_and_the_marks_stay(tmp_path: Path) -> None:
    code = """if True:
        import pathlib, resource, sys
        from batchrunner.errors import StorageError
        from batchrunner.store.marks import Marks
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        marks = Marks(pathlib.Path(sys.argv[1]))
        slots = [marks.set(unit) for unit in range(4096)]
        try:
            marks.set(4096)
        except StorageError as error:
            print(error)
        marks.clear(slots[0])
        print(len(marks.units()))
    """
    told = subprocess.run(python(code, tmp_path / "marks"), check=True, capture_output=True, text=True)
    assert told.stdout.splitlines() == [f"{tmp_path / 'marks'} can't be used: No space left on device.", "4095"]
    marks = Marks(tmp_path / "marks")
    assert marks.units() == list(range(1, 4096))
    marks.close()


def test_marks_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "marks").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError):
        Marks(tmp_path / "marks")
    assert (tmp_path / "precious").read_text() == "mine"


MARKING = st.lists(st.none() | st.integers(0, 50), max_size=60)


@given(MARKING)
def test_marks_are_those_set_and_not_cleared(tmp_path_factory: pytest.TempPathFactory, steps: list[int | None]) -> None:
    path = tmp_path_factory.mktemp("marks") / "marks"
    marks, held = Marks(path), []
    for step in steps:
        if step is not None:
            held.append((marks.set(step), step))
        elif held:
            slot, _ = held.pop(0)
            marks.clear(slot)
    assert marks.units() == sorted(unit for _, unit in held)
    marks.close()


HOLD = """if True:
    import sys, pathlib
    from batchrunner.store.lock import RunLock
    lock = RunLock(pathlib.Path(sys.argv[1]))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_told_who_holds_the_lock_and_death_releases_it(tmp_path: Path) -> None:
    with subprocess.Popen(python(HOLD, tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        for _ in range(2):
            with pytest.raises(LockedError, match=rf"process {holder.pid} on .* since 2"):
                RunLock(tmp_path)
        holder.kill()
    RunLock(tmp_path).release()


def test_a_lock_is_free_after_its_release(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    with pytest.raises(LockedError, match=f"process {os.getpid()} "):
        RunLock(tmp_path)
    first.release()
    RunLock(tmp_path).release()


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    lock = RunLock(tmp_path)
    with subprocess.Popen(
        python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False
    ) as child:
        # Popen returns while exec still closes what is not inherited: for that moment the child has the lock too.
        assert child.stdout.readline() == "up\n"
        lock.release()
        RunLock(tmp_path).release()


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError):
        RunLock(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_no_folder_no_lock(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        RunLock(tmp_path / "nowhere")


@given(st.integers(0, 200), st.lists(st.integers(0, 300)))
def test_a_bitmap_is_a_set_of_the_numbers_below_its_size(size: int, added: list[int]) -> None:
    bitmap, expected = Bitmap(size, added), {number for number in added if number < size}
    assert len(bitmap) == len(expected)
    assert {number for number in range(320) if number in bitmap} == expected


def test_a_bitmap_of_ten_million_takes_little_memory() -> None:
    bitmap = Bitmap(10**7, (10**7 - 1, 10**7, 10**12))
    assert len(bitmap._bits) == 1_250_000  # noqa: SLF001 - its memory is the point
    assert 10**7 - 1 in bitmap
    assert len(bitmap) == 1


class _EnoughError(Exception):
    """Somebody wants no more of it."""


_ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"


def _enough(_: int) -> None:
    raise _EnoughError


def test_a_statement_that_would_take_for_ever_is_ended_by_whoever_is_heeded(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with pytest.raises(_EnoughError):
        read_store(tmp_path, lambda reader: reader.select(_ENDLESS), heed=_enough)
    with closing(Store(tmp_path, heed=_enough)) as store:
        with pytest.raises(_EnoughError):
            store._all(_ENDLESS)  # noqa: SLF001 - no question of its own takes for ever
        store.remember("afterwards", "it can be written to")
        assert store.fact("afterwards") == "it can be written to"
