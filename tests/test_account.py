"""This machine's book of limits used: over processes, without the key, and never an empty start."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier, Thread

import pytest

from batchrunner.errors import StorageError
from batchrunner.limits.account import Book

KEY = "sky_ab12cd34.0123456789abcdef0123456789"
URL = "https://gateway.example/v1"


def leased(state_dir: Path, model: str = "acme/small", account: str = KEY) -> float:
    """Until when a lane may have been used, as a new run finds it."""
    book = Book(state_dir)
    try:
        return book.leased_until(book.lane_name(URL, account, model))
    finally:
        book.close()


def use(state_dir: Path, until: float, model: str = "acme/small", account: str = KEY) -> None:
    """A run that leases a lane and ends."""
    book = Book(state_dir)
    book.extend(book.lane_name(URL, account, model), until)
    book.close()


def test_a_lane_nobody_used_is_free(tmp_path: Path) -> None:
    assert leased(tmp_path / "state" / "batchrunner") == float("-inf")


def test_the_next_process_knows_until_when_a_killed_one_may_have_sent(tmp_path: Path) -> None:
    code = """if True:
        import os, pathlib, signal, sys, time
        from batchrunner.limits.account import Book
        book = Book(pathlib.Path(sys.argv[1]))
        until = time.monotonic() + 0.6
        book.extend(book.lane_name(*sys.argv[2:]), until - 5)
        book.extend(book.lane_name(*sys.argv[2:]), until)
        print(repr(until), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", code, str(tmp_path), URL, KEY, "acme/small"]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    assert leased(tmp_path) == float(killed.stdout)


def test_a_lane_is_a_url_an_account_and_a_model(tmp_path: Path) -> None:
    use(tmp_path, 100.0)
    assert leased(tmp_path) == 100.0
    assert leased(tmp_path, model="acme/large") == float("-inf")
    assert leased(tmp_path, account="another key") == float("-inf")
    book = Book(tmp_path)
    assert len({book.lane_name(url, KEY, "m") for url in (URL, "https://other.example/v1")}) == 2
    book.close()


def test_a_run_that_ends_early_gives_its_lease_back(tmp_path: Path) -> None:
    book = Book(tmp_path)
    name = book.lane_name(URL, KEY, "acme/small")
    book.extend(name, 100.6)
    book.end(name, 100.1)
    book.close()
    assert leased(tmp_path) == 100.1


def test_nobody_shortens_the_lease_of_another_run(tmp_path: Path) -> None:
    code = "import pathlib, sys; from batchrunner.limits.account import Book; book = Book(pathlib.Path(sys.argv[1])); "
    code += "name = book.lane_name(*sys.argv[2:]); book.extend(name, 200.0)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path), URL, KEY, "acme/small"], check=True)
    book = Book(tmp_path)
    name = book.lane_name(URL, KEY, "acme/small")
    book.end(name, 100.0)
    assert book.leased_until(name) == 200.0
    book.extend(name, 150.0)
    assert book.leased_until(name) == 200.0
    book.close()


def test_a_lease_counts_within_one_boot_only(tmp_path: Path) -> None:
    use(tmp_path, 100.0)
    with sqlite3.connect(tmp_path / "book.sqlite") as db:
        db.execute("UPDATE lanes SET boot = 'an earlier one'")
    db.close()
    assert leased(tmp_path) == float("-inf")
    use(tmp_path, 50.0)
    assert leased(tmp_path) == 50.0


def test_the_key_is_in_no_file_of_the_state_folder(tmp_path: Path) -> None:
    book = Book(tmp_path)
    name = book.lane_name(URL, KEY, "acme/small")
    book.extend(name, 100.0)
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
        books[0].extend("lane", 1.0)
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
        db.execute("CREATE TABLE lanes(something TEXT)")
    db.close()
    book = Book(tmp_path)
    with pytest.raises(StorageError):
        book.leased_until("lane")
    with pytest.raises(StorageError):
        book.extend("lane", 1.0)
    book.close()


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
    use(tmp_path, 100.0)
    (tmp_path / "book.sqlite").chmod(0)
    with pytest.raises(StorageError, match="can't be used"):
        Book(tmp_path)


def test_a_book_that_another_process_holds_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    use(tmp_path, 100.0)
    other = sqlite3.connect(tmp_path / "book.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    release = Thread(target=lambda: (time.sleep(0.3), other.execute("COMMIT")))
    release.start()
    book = Book(tmp_path)
    book.extend(book.lane_name(URL, KEY, "acme/small"), 200.0)
    assert time.monotonic() - begin >= 0.2
    release.join()
    other.close()
    book.close()
    assert leased(tmp_path) == 200.0


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
            use(state_dir, 100.0, model=str(number))
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
        assert [leased(tmp_path / str(attempt), model=str(number)) for number in range(8)] == [100.0] * 8
    assert refused == []
