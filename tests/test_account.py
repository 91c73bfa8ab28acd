"""This machine's book of limits used: over processes, without the key, and never an empty start."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from batchrunner.errors import StorageError
from batchrunner.limits.account import Book, Entry
from batchrunner.limits.day import Spent
from batchrunner.limits.page import Found, Page
from batchrunner.limits.sharing import Member, Part

KEY = "sky_ab12cd34.0123456789abcdef0123456789"
URL = "https://gateway.example/v1"


def entry(until: float, *, held: float = 10.0, day: str = "2026-11-24", leased: float = 0.0, **more: Any) -> Entry:
    """What a process writes that may admit until then."""
    part = Part(dimension="requests", window_seconds=60.0, amount=600.0, held=held, curve=[held])
    member = Member(at=until - 0.6, until=until, parts=[part], day=day, day_requests=leased)
    return Entry(member=member, **more)


def use(state_dir: Path, written: Entry, *, model: str = "acme/small", account: str = KEY, me: str = "me") -> None:
    """A process that writes once and is gone."""
    book = Book(state_dir)
    with book.meeting(book.lane_name(URL, account, model), me) as meeting:
        meeting.entry = written
    book.close()


def page(state_dir: Path, model: str = "acme/small", account: str = KEY) -> Page:
    """A lane's page as another process finds it; looking buries who is gone."""
    book = Book(state_dir)
    try:
        with book.meeting(book.lane_name(URL, account, model), "another") as meeting:
            return meeting.page
    finally:
        book.close()


def later(seconds: float = 0.5) -> float:
    return time.monotonic() + seconds


def test_a_lane_nobody_used_is_an_empty_page(tmp_path: Path) -> None:
    assert page(tmp_path / "state" / "batchrunner") == Page()


def test_the_next_process_finds_what_a_killed_one_wrote_last(tmp_path: Path) -> None:
    code = """if True:
        import os, pathlib, signal, sys, time
        from batchrunner.limits.account import Book, Entry
        from batchrunner.limits.sharing import Member, Part
        book = Book(pathlib.Path(sys.argv[1]))
        now = time.monotonic()
        for held in (5.0, 7.0):
            part = Part(dimension="requests", window_seconds=60.0, amount=600.0, held=held, curve=[held])
            with book.meeting(book.lane_name(*sys.argv[2:]), "killed") as meeting:
                meeting.entry = Entry(member=Member(at=now, until=now + 0.6, parts=[part]))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", code, str(tmp_path), URL, KEY, "acme/small"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (killed,) = page(tmp_path).others
    assert killed.parts[0].held == 7.0


def test_a_lane_is_a_url_an_account_and_a_model(tmp_path: Path) -> None:
    use(tmp_path, entry(later()))
    assert len(page(tmp_path).others) == 1
    assert page(tmp_path, model="acme/large").others == []
    assert page(tmp_path, account="another key").others == []
    book = Book(tmp_path)
    assert len({book.lane_name(url, KEY, "m") for url in (URL, "https://other.example/v1")}) == 2
    book.close()


def test_a_process_does_not_meet_itself(tmp_path: Path) -> None:
    use(tmp_path, entry(later()), me="another")
    assert page(tmp_path).others == []


def test_what_members_wrote_counts_within_one_boot_only_and_what_they_had_on_lease_is_spent(tmp_path: Path) -> None:
    use(tmp_path, entry(later(), leased=16.0, spent={"2026-11-24": Spent(100.0, 5000.0)}))
    with sqlite3.connect(tmp_path / "book.sqlite") as db:
        db.execute("UPDATE member SET boot = 'an earlier one'")
    db.close()
    found = page(tmp_path)
    assert found.others == []
    assert found.days == {"2026-11-24": Spent(116.0, 5000.0)}


def test_a_day_adds_up_over_processes_and_what_a_dead_one_had_on_lease_is_spent_once(tmp_path: Path) -> None:
    use(tmp_path, entry(later(-1), leased=16.0, spent={"2026-11-24": Spent(3.0, 70.0)}), me="dead")
    use(tmp_path, entry(later(60), leased=20.0, spent={"2026-11-24": Spent(4.0, 30.0)}), me="alive")
    for _ in range(3):
        assert page(tmp_path).days == {"2026-11-24": Spent(23.0, 100.0)}


def test_tokens_given_back_come_off_the_day_and_a_day_that_is_none_is_struck_out(tmp_path: Path) -> None:
    use(tmp_path, entry(later(), spent={"2026-11-24": Spent(3.0, 70.0), "2027-01-01": Spent(1.0, 1.0)}))
    use(tmp_path, entry(later(), spent={"2026-11-24": Spent(0.0, -50.0)}, discard=["2027-01-01"]))
    assert page(tmp_path).days == {"2026-11-24": Spent(3.0, 20.0)}


def test_found_limits_and_the_news_of_a_spent_quota_stay(tmp_path: Path) -> None:
    found = [Found(dimension="tokens", window_seconds=60.0, amount=90_000.0)]
    use(tmp_path, entry(later(-1), found=found, found_at=1000.0, gone_until=5000.0))
    use(tmp_path, entry(later()))
    seen = page(tmp_path)
    assert (seen.found, seen.found_at, seen.gone_until) == (found, 1000.0, 5000.0)


def test_members_are_forgotten_when_no_window_of_theirs_is_left(tmp_path: Path) -> None:
    use(tmp_path, entry(later(-119)), me="a")
    use(tmp_path, entry(later(-121)), me="b")
    assert len(page(tmp_path).others) == 1


def test_an_error_while_deciding_writes_nothing(tmp_path: Path) -> None:
    book = Book(tmp_path)
    with pytest.raises(ZeroDivisionError), book.meeting("lane", "me") as meeting:  # noqa: PT012 - a meeting is a block
        meeting.entry = entry(later())
        1 / 0  # noqa: B018 - for the error
    assert book.page("lane") == Page()
    book.close()


def test_a_lane_that_is_forgotten_is_an_empty_page_again(tmp_path: Path) -> None:
    use(tmp_path, entry(later(), spent={"2026-11-24": Spent(3.0, 70.0)}))
    use(tmp_path, entry(later()), model="acme/large")
    book = Book(tmp_path)
    (small,) = [lane for lane in book.lanes() if "small" in lane.name]
    assert small.processes == [os.getpid()]
    book.forget(small.name)
    assert [lane.name.split()[-1] for lane in book.lanes()] == ["acme/large"]
    assert book.page(small.name) == Page()
    book.close()


def test_the_key_is_in_no_file_of_the_state_folder(tmp_path: Path) -> None:
    book = Book(tmp_path)
    name = book.lane_name(URL, KEY, "acme/small")
    with book.meeting(name, "me") as meeting:
        meeting.entry = entry(later())
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    book.close()
    written += (tmp_path / "book.sqlite").read_bytes()
    assert name.encode() in written
    for part in (KEY[:8], KEY[-8:], KEY):
        assert part.encode() not in written
        assert part not in name


def test_a_key_has_another_hash_in_every_state_folder_and_the_same_in_one(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "a", "b"):
        book = Book(tmp_path / folder)
        names.append(book.lane_name(URL, KEY, "m"))
        book.close()
    assert names[0] == names[1] != names[2]


def test_only_the_user_can_read_the_book(tmp_path: Path) -> None:
    there = tmp_path / "there"
    before = os.umask(0)
    try:
        there.mkdir(mode=0o755)
        books = [Book(there), Book(tmp_path / "new")]
        books[0].page("lane")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in there.iterdir()} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    for book in books:
        book.close()


@pytest.mark.parametrize("content", [b"no database " * 100, b"\x00" * 5000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_book_that_is_no_book_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "book.sqlite").write_bytes(content)
    with pytest.raises(StorageError, match=r"book\.sqlite.*--state-dir"):
        Book(tmp_path)
    assert (tmp_path / "book.sqlite").read_bytes() == content


def test_a_book_that_is_another_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "book.sqlite") as db:
        db.execute("CREATE TABLE lane(something TEXT)")
    db.close()
    book = Book(tmp_path)
    with pytest.raises(StorageError):
        book.page("lane")
    with pytest.raises(StorageError), book.meeting("lane", "me"):
        pass
    book.close()


def test_a_book_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "book.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StorageError, match="newer"):
        Book(tmp_path)


def test_a_book_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "book.sqlite").mkdir()
    with pytest.raises(StorageError, match="can't be used"):
        Book(tmp_path)


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StorageError, match="can't be used"):
        Book(tmp_path / "state")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_book_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    use(tmp_path, entry(later()))
    (tmp_path / "book.sqlite").chmod(0)
    with pytest.raises(StorageError, match="can't be used"):
        Book(tmp_path)


def test_a_book_that_another_process_holds_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    use(tmp_path, entry(later()))
    other = sqlite3.connect(tmp_path / "book.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    release = Thread(target=lambda: (time.sleep(0.3), other.execute("COMMIT")))
    release.start()
    use(tmp_path, entry(later(), held=3.0))
    assert time.monotonic() - begin >= 0.2
    release.join()
    other.close()
    assert page(tmp_path).others[0].parts[0].held == 3.0


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "BEGIN; SELECT * FROM sqlite_master"])
def test_a_new_book_that_another_process_is_making_is_waited_for(tmp_path: Path, begin: str) -> None:
    other = sqlite3.connect(tmp_path / "book.sqlite", isolation_level=None, check_same_thread=False)
    other.executescript(f"CREATE TABLE something(x); {begin}")
    release = Thread(target=lambda: (time.sleep(0.2), other.execute("COMMIT")))
    release.start()
    Book(tmp_path).close()
    release.join()
    other.close()


def test_runs_that_open_a_new_book_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    def open_one(state_dir: Path, number: int) -> None:
        together.wait()
        try:
            use(state_dir, entry(later()), model=str(number))
        except StorageError as error:
            refused.append(error)

    refused: list[StorageError] = []
    for attempt in range(15):
        together = Barrier(8)
        threads = [Thread(target=open_one, args=(tmp_path / str(attempt), number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(page(tmp_path / str(attempt), model=str(number)).others) for number in range(8)] == [1] * 8
    assert refused == []


def test_the_last_four_hundred_days_are_kept(tmp_path: Path) -> None:
    days = {f"{year}-{month:02}-{day:02}" for year in (2016, 2017) for month in range(1, 13) for day in range(1, 29)}
    use(tmp_path, entry(later(), spent=dict.fromkeys(days, Spent(1.0, 1.0))))
    page(tmp_path)
    assert set(page(tmp_path).days) == set(sorted(days)[-400:])
