"""Units keep what they are when the arms of a sweep change: by every way from one list of arms to another."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from batchrunner.folder.arms import ASIDE, Arms, KnownArm, Renumbering
from batchrunner.records import Outcome
from batchrunner.store.database import Store
from batchrunner.store.rows import Entry

NAMES = ("a", "b", "c", "d")
ROWS = 5
LISTS = some.lists(
    some.sampled_from([(name, sample) for name in NAMES for sample in range(2)]), min_size=1, unique=True
)

RENUMBER_AND_DIE = """
import os, signal, sys
from pathlib import Path
from batchrunner.store.renumbered import RenumberedStore

def number(old):
    if old == 150:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * old

store = RenumberedStore(Path(sys.argv[1]))
store.renumber_by(number, lambda old, body: body)
store.renumber({"arms": "new"})
"""


def arms(listed: list[tuple[str, int]]) -> list[KnownArm]:
    """These variants and samples, called by both."""
    return [KnownArm(values={"model": name}, variant=f"model={name}", sample=sample) for name, sample in listed]


@given(some.lists(LISTS, min_size=2, max_size=6))
def test_a_unit_keeps_its_row_and_its_arm_through_every_change(changes: list[list[tuple[str, int]]]) -> None:
    known = Arms(asked=arms(changes[0]))
    numbers = {(row, arm): row * len(changes[0]) + place for row in range(ROWS) for place, arm in enumerate(changes[0])}
    for listed in changes[1:]:
        change = Renumbering(known, arms(listed), ["model"])
        moved = {unit: change.number(number) for unit, number in numbers.items()}
        assert change.moves or moved == numbers
        known, numbers = change.after, moved
        for row in range(ROWS):  # units of arms that were never asked are numbered when they are first recorded
            for place, arm in enumerate(listed):
                assert numbers.setdefault((row, arm), row * len(listed) + place) == row * len(listed) + place
        assert len(set(numbers.values())) == len(numbers)
        assert {unit[1] for unit, number in numbers.items() if number < ASIDE} == set(listed)


def test_an_output_row_is_called_as_its_variant_is_now() -> None:
    before = Arms(asked=[KnownArm(values={"model": "a"})])
    change = Renumbering(before, [KnownArm(values={"model": "a"}, variant="model=a", sample=0)], ["model"])
    row = msgspec.json.encode(Outcome(id="q", row=3, status="ok", tool_calls=msgspec.Raw(b"[ 1.0e2 ]")))
    assert change.moves
    relabelled = change.row(3, row)
    assert relabelled == row.replace(b'"variant":null,"sample":null', b'"variant":"model=a","sample":0')


def test_what_drifts_does_not_make_another_arm() -> None:
    before = Arms(asked=[KnownArm(values={"model": "a", "prompt": "x"})])
    assert not Renumbering(before, [KnownArm(values={"model": "b", "prompt": "y"})], []).moves


def test_a_kill_while_units_are_renumbered_leaves_the_old_numbers_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit([Entry(outcome=Outcome(id=str(n), row=n, status="ok"), digest=b"%d" % n) for n in range(300)])
    store.remember("arms", "old")
    store.close()
    killed = subprocess.run([sys.executable, "-c", RENUMBER_AND_DIE, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert list(store.digests()) == [(n, b"%d" % n) for n in range(300)]
    assert [number for number, _ in store.bodies(0, 1000)] == list(range(300))
    assert store.fact("arms") == "old"
    store.close()
    with sqlite3.connect(tmp_path / "run.sqlite") as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    assert not any(name.endswith("_before") for name in tables)
