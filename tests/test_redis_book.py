"""The book in Redis promises what a machine's own does, over a server that is slow, forgets, or is no Redis."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from batchrunner.errors import StorageError
from batchrunner.limits.book import Entry, OutOfReachError
from batchrunner.limits.day import Spent
from batchrunner.limits.page import Found, Page
from batchrunner.limits.redis_book import KEEP_SECONDS, TURN_SECONDS, RedisBook
from batchrunner.limits.redis_place import redis_place
from batchrunner.limits.sharing import Member, Part

KEY = "sky_ab12cd34.0123456789abcdef0123456789"
URL = "https://gateway.example/v1"
DAY = "2026-11-24"


def opened(server: RedisServer) -> RedisBook:
    return RedisBook(redis_place(server.url, {}))


@pytest.fixture
def book(redis_server: RedisServer) -> Iterator[RedisBook]:
    with closing(opened(redis_server)) as one:
        yield one


@pytest.fixture
def other(redis_server: RedisServer) -> Iterator[RedisBook]:
    """As another process has it."""
    with closing(opened(redis_server)) as one:
        yield one


def entry(until: float, *, held: float = 10.0, leased: float = 0.0, **more: Any) -> Entry:
    """What a process writes that may admit until then."""
    part = Part(dimension="requests", window_seconds=60.0, amount=600.0, held=held, curve=[held])
    member = Member(at=until - 0.6, until=until, parts=[part], day=DAY, day_requests=leased)
    return Entry(member=member, **more)


def use(book: RedisBook, written: Entry | None = None, *, me: str = "me", model: str = "acme/small") -> Page:
    """A meeting; the page that was found."""
    with book.meeting(book.lane_name(URL, KEY, model), me) as meeting:
        meeting.entry = written
        return meeting.page


def later(seconds: float = 0.5) -> float:
    return time.monotonic() + seconds


def test_a_lane_nobody_used_is_an_empty_page(book: RedisBook) -> None:
    assert use(book) == Page()


def test_what_one_writes_the_other_reads_on_its_own_clock_never_earlier(book: RedisBook, other: RedisBook) -> None:
    until = later()
    use(book, entry(until, held=7.0))
    (seen,) = use(other, me="another").others
    assert seen.parts[0].held == 7.0
    assert until <= seen.until <= until + 0.05
    assert use(book).others == []


def test_a_lane_is_a_url_an_account_and_a_model_and_has_the_same_name_everywhere(
    book: RedisBook, other: RedisBook
) -> None:
    names = {book.lane_name(url, key, model) for url in (URL, f"{URL}/x") for key in (KEY, "k") for model in ("m", "")}
    assert len(names) == 8
    assert {other.lane_name(URL, KEY, "m"), book.lane_name(URL, KEY, "m")} <= names
    use(book, entry(later()))
    assert use(other, me="another", model="acme/large") == Page()


def test_the_key_is_nowhere_in_redis(book: RedisBook, redis_server: RedisServer) -> None:
    use(book, entry(later()))
    with redis_server.client() as client:
        names = client.keys("*")
        written = b"".join([*names, *client.mget(names)])
    assert b"acme/small" in written
    for part in (KEY[:8], KEY[-8:], KEY):
        assert part.encode() not in written


def test_a_day_adds_up_and_what_a_dead_one_had_on_lease_is_spent_once(book: RedisBook, other: RedisBook) -> None:
    use(book, entry(later(-1), leased=16.0, spent={DAY: Spent(3.0, 70.0)}), me="dead")
    use(book, entry(later(60), leased=20.0, spent={DAY: Spent(4.0, 30.0)}), me="alive")
    use(book, entry(later(60), spent={DAY: Spent(0.0, -10.0)}), me="alive")
    for _ in range(3):
        assert use(other, entry(later()), me="another").days == {DAY: Spent(23.0, 90.0)}


def test_a_process_that_only_seemed_dead_has_nothing_buried(book: RedisBook, other: RedisBook) -> None:
    use(book, entry(later(-1), leased=16.0, spent={DAY: Spent(3.0, 0.0)}))
    assert use(other, entry(later()), me="another").days == {DAY: Spent(19.0, 0.0)}
    use(book, entry(later(), spent={DAY: Spent(5.0, 0.0)}))
    assert use(other, me="another").days == {DAY: Spent(8.0, 0.0)}


def test_found_limits_the_news_of_a_spent_quota_and_a_day_that_is_none(book: RedisBook, other: RedisBook) -> None:
    found, now = [Found(dimension="tokens", window_seconds=60.0, amount=90_000.0)], time.time()
    use(book, entry(later(), found=found, found_at=now, gone_until=now + 60, spent={"2027-01-01": Spent(1.0, 1.0)}))
    use(book, entry(later(), discard=["2027-01-01"]))
    page = use(other, me="another")
    assert (page.found, page.gone_until, page.days) == (found, now + 60, {})
    assert page.found_at == pytest.approx(now, abs=0.1)


def test_who_takes_too_long_in_his_turn_writes_nothing(book: RedisBook, other: RedisBook) -> None:
    began = time.monotonic()
    with (  # noqa: PT012 - a meeting is a block
        pytest.raises(OutOfReachError, match="too long"),
        book.meeting(book.lane_name(URL, KEY, "acme/small"), "me") as mine,
    ):
        mine.entry = entry(later(), held=1.0, spent={DAY: Spent(1.0, 1.0)})
        use(other, entry(later(), held=2.0), me="another")  # as soon as my turn has run out
        assert time.monotonic() - began >= 0.8 * TURN_SECONDS
    page = use(book, entry(later(), held=3.0, spent={DAY: Spent(1.0, 1.0)}))
    assert [one.parts[0].held for one in page.others] == [2.0]
    assert use(other, me="another").days == {DAY: Spent(1.0, 1.0)}


def test_a_process_that_is_killed_in_its_turn_holds_nobody_up_for_long(book: RedisBook) -> None:
    code = """if True:
        import os, signal, sys
        from batchrunner.limits.redis_book import RedisBook
        from batchrunner.limits.redis_place import redis_place
        book = RedisBook(redis_place(sys.argv[1], {}))
        with book.meeting(book.lane_name(*sys.argv[2:]), "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    place = str(book.place)
    done = subprocess.run([sys.executable, "-c", code, place, URL, KEY, "acme/small"], check=False)
    assert done.returncode == -signal.SIGKILL
    began = time.monotonic()
    use(book, entry(later()))
    assert time.monotonic() - began < 2 * TURN_SECONDS + 0.5


def test_an_error_while_deciding_writes_nothing_and_passes_the_turn_on(book: RedisBook, other: RedisBook) -> None:
    with pytest.raises(ZeroDivisionError), book.meeting("lane", "me") as meeting:  # noqa: PT012 - a meeting is a block
        meeting.entry = entry(later())
        1 / 0  # noqa: B018 - for the error
    began = time.monotonic()
    with other.meeting("lane", "another") as meeting:
        assert meeting.page == Page()
    assert time.monotonic() - began < TURN_SECONDS / 2


@pytest.mark.parametrize("comes_back", ["empty", "as it was earlier"])
def test_a_redis_that_lost_its_memory_gets_it_back_from_whoever_comes_first(
    book: RedisBook, other: RedisBook, redis_server: RedisServer, comes_back: str
) -> None:
    use(book, entry(later(60), held=7.0, spent={DAY: Spent(100.0, 0.0)}), me="earlier")
    with redis_server.client() as client:
        (name,) = client.keys("*lane*")
        kept = client.get(name)
    use(book, entry(later(60), held=8.0, spent={DAY: Spent(3.0, 0.0)}))
    use(other, entry(later(60), held=9.0, spent={DAY: Spent(4.0, 0.0)}, gone_until=5000.0), me="another")
    redis_server.end()
    redis_server.start()
    if comes_back == "as it was earlier":
        with redis_server.client() as client:
            client.set(name, kept)
    page = use(other, entry(later(60), held=9.0, spent={DAY: Spent(5.0, 0.0)}), me="another")
    assert sorted(one.parts[0].held for one in page.others) == [7.0, 8.0]
    page = use(book, entry(later(60), spent={DAY: Spent(1.0, 0.0)}))
    assert page.days == {DAY: Spent(112.0, 0.0)}
    assert page.gone_until == 5000.0
    assert use(other, me="another").days == {DAY: Spent(113.0, 0.0)}


def test_a_redis_that_does_not_answer_is_out_of_reach_until_it_does(book: RedisBook, redis_server: RedisServer) -> None:
    assert redis_server.process is not None
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(OutOfReachError, match=str(redis_server.port)):
            use(book, entry(later()))
        assert time.monotonic() - began < 3
    os.kill(redis_server.process.pid, signal.SIGCONT)
    assert use(book, entry(later())) == Page()


def test_a_redis_whose_memory_is_full_is_out_of_reach(book: RedisBook, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(OutOfReachError, match="maxmemory"):
            use(book, entry(later()))
        client.config_set("maxmemory", "0")
    use(book, entry(later()))


def test_a_lane_is_listed_and_forgotten(book: RedisBook, other: RedisBook) -> None:
    use(book, entry(later(), spent={DAY: Spent(3.0, 70.0)}))
    use(book, entry(later(-1)), model="acme/large")
    small, large = sorted(other.lanes(), key=lambda lane: not lane.name.endswith("small"))
    assert small.processes == [f"{os.getpid()} on {socket.gethostname()}"]
    assert (large.processes, small.page.days) == ([], {DAY: Spent(3.0, 70.0)})
    assert time.time() - 5 < small.seen_at < time.time() + 5
    other.forget(small.name)
    assert [lane.name for lane in other.lanes()] == [large.name]


def test_nothing_stays_in_redis_for_ever(book: RedisBook, redis_server: RedisServer) -> None:
    days = [f"2026-11-{day:02}" for day in range(1, 29)]
    use(book, entry(later(), spent=dict.fromkeys(days, Spent(1.0, 1.0))))
    assert list(use(book).days) == days[-3:]
    with redis_server.client() as client:
        assert all(0 < client.ttl(name) <= KEEP_SECONDS for name in client.keys("*"))


@pytest.mark.parametrize("content", ["no sheet", '{"version": 99}', '{"days": 3}'])
def test_what_is_no_sheet_or_of_a_newer_version_is_refused(
    book: RedisBook, redis_server: RedisServer, content: str
) -> None:
    lane = book.lane_name(URL, KEY, "acme/small")
    with redis_server.client() as client:
        client.set(f"batchrunner:lane:{lane}", content)
        with pytest.raises(StorageError, match="can't be used"):
            use(book, entry(later()))
        assert client.get(f"batchrunner:lane:{lane}") == content.encode()


def test_no_redis_is_told_at_once() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        place = redis_place(f"redis://127.0.0.1:{listener.getsockname()[1]}", {})
    with pytest.raises(StorageError, match=f"{place}.*refused"):
        RedisBook(place)


def test_a_password_is_asked_for_and_never_told(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", "secret-canary")
    for wrong in ("", ":wrong-canary@", "someone:wrong-canary@"):
        with pytest.raises(StorageError, match=r"(?i)auth|password") as caught:
            RedisBook(redis_place(redis_server.url.replace("//", f"//{wrong}"), {}))
        assert "canary" not in str(caught.value)
    with closing(RedisBook(redis_place(redis_server.url.replace("//", "//:secret-canary@"), {}))) as book:
        assert use(book) == Page()
        assert "canary" not in repr(book.place)


def test_the_rights_that_the_readme_names_are_enough(redis_server: RedisServer) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rights = readme.partition("`ACL SETUSER ")[2].partition("`")[0].split()
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", *rights)
    url = redis_server.url.replace("//", f"//{rights[0]}:{rights[2].removeprefix('>')}@")
    with closing(RedisBook(redis_place(url, {}))) as book:
        use(book, entry(later()))
        (lane,) = book.lanes()
        book.forget(lane.name)
        assert book.page(lane.name) == Page()
