"""The book in Redis: processes on several machines meet there, as those of one machine do in its own (account).

Each lane is one sheet (see sheet), read and written by one script in two steps. The first takes the turn, if nobody has
it, and brings the sheet with the server's time; the second writes the sheet and passes the turn on, unless the turn has
run out meanwhile: then nothing is written. So nobody writes between, what follows from a page is decided in plain code
here, and a process far away comes in between quick ones, which it would not where the first to write wins. A process
that dies in its turn holds up the others for TURN_SECONDS.

The account is in it as a hash only, made slowly (scrypt) and for each base URL another; nothing else goes into it, so
that every machine makes the same one, and no salt can be lost while processes are at work. Refused: connections beyond
loopback without TLS or password, unless told to.

The only file that knows redis, which is imported when a book is opened.
"""

import hashlib
import itertools
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from batchrunner.errors import StorageError, UsageError
from batchrunner.limits.book import LaneInBook, Meeting, OutOfReachError
from batchrunner.limits.page import ALL_MODELS, Page
from batchrunner.limits.redis_place import RedisPlace
from batchrunner.limits.server_clock import ServerClock
from batchrunner.limits.sheet import VERSION, Sheet, Used, added, as_of, moved, page_of, written

TURN_SECONDS = 0.4
KEEP_SECONDS = 14 * 86400
_TIMEOUT_SECONDS = 1.0
_PATIENCE_SECONDS = 2.0
_POLL_SECONDS = (0.002, 0.008)
_LANE, _TURN = "batchrunner:lane:", "batchrunner:turn:"

# KEYS: the sheet, whose turn it is. ARGV: a word for this turn, its milliseconds; then, to write, the sheet and for how
# many seconds it is kept. An empty sheet passes the turn on. Answers the time, 1 where it was done, and the sheet.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', tonumber(time[2]))
local turn = redis.call('GET', KEYS[2])
if #ARGV == 2 then
  if turn then return {now, 0} end
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  return {now, 1, redis.call('GET', KEYS[1])}
end
if turn ~= ARGV[1] then return {now, 0} end
if ARGV[3] ~= '' then redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4]) end
redis.call('DEL', KEYS[2])
return {now, 1}
"""
_decode_sheet = msgspec.json.Decoder(Sheet).decode


@dataclass(slots=True)
class _Known:
    """What one member of a lane remembers: the sheet as it last wrote it, and what it has used, by day."""

    sheet: Sheet = field(default_factory=Sheet)
    used: Used = field(default_factory=dict)


class RedisBook:
    """The book at a place in Redis. Safe to call from one thread at a time."""

    is_far = True

    def __init__(self, place: RedisPlace) -> None:
        """Connect; StorageError where that fails, UsageError where redis-py is not installed."""
        self.place = place
        try:
            import redis  # noqa: PLC0415 - who does not share a book need not wait for it, or have it
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.retry import Retry  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("--shared needs redis-py: pip install 'batchrunner[redis]'") from error
        self._errors = (redis.RedisError, OSError)
        self._redis = redis.Redis(
            **place.connection(),
            protocol=2,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(_SCRIPT)
        self._clock = ServerClock()
        self._who = f"{os.getpid()} on {socket.gethostname()}"
        self._turns = itertools.count()
        self._known: dict[tuple[str, str], _Known] = {}
        self._digests: dict[tuple[str, str], str] = {}
        with self._as_storage_error():
            self._tell_time()

    def lane_name(self, base_url: str, account: str, model: str) -> str:
        """The book's name for a lane, the same on every machine."""
        digest = self._digests.get((base_url, account))
        if digest is None:
            salt = f"batchrunner {base_url}".encode()
            digest = hashlib.scrypt(account.encode(), salt=salt, n=2**14, r=8, p=1, dklen=12).hex()
            self._digests[base_url, account] = digest
        return f"{base_url} {digest} {model or ALL_MODELS}"

    def page(self, lane: str) -> Page:
        """What stands in the book of this lane."""
        with self._as_storage_error():
            return self._page(self._sheet_of(self._redis.get(_LANE + lane)), "", _Known())

    @contextmanager
    def meeting(self, lane: str, member_id: str) -> Iterator[Meeting]:
        """The lane's page, to be read and written with nobody between. OutOfReachError where Redis does not answer, or
        the turn has run out."""
        known = self._known.setdefault((lane, member_id), _Known())
        turn = f"{member_id} {next(self._turns)}"
        with self._as_out_of_reach():
            now, content = self._take_turn(lane, turn)
        sheet = as_of(self._sheet_of(content), known.sheet, now)
        meeting = Meeting(self._page(sheet, member_id, known))
        try:
            yield meeting
        except BaseException:
            self._end_turn(lane, turn, b"")
            raise
        self._write(lane, member_id, turn, sheet, meeting)

    def lanes(self) -> list[LaneInBook]:
        """Every lane, the one used last first."""
        with self._as_storage_error():
            now = self._tell_time()
            names = list(self._redis.scan_iter(match=f"{_LANE}*", count=1000))
            sheets = [self._sheet_of(content) for content in self._redis.mget(names)] if names else []
        return [
            LaneInBook(
                name=sheet.name,
                page=self._page(sheet, "", _Known()),
                processes=[one.who for one in sheet.members.values() if one.member.until >= now],
                seen_at=sheet.seen_at,
            )
            for sheet in sorted(sheets, key=lambda one: -one.seen_at)
            if sheet.name
        ]

    def forget(self, lane: str) -> None:
        """Strike a lane out."""
        with self._as_storage_error():
            self._redis.delete(_LANE + lane)

    def close(self) -> None:
        """Close the connection; what was written stays."""
        self._redis.close()

    def _page(self, sheet: Sheet, me: str, known: _Known) -> Page:
        clock, now = self._clock, time.monotonic()
        page = page_of(sheet, me, known.used, offset=clock.offset, late=clock.late(now))
        return msgspec.structs.replace(page, found_at=page.found_at - self._ahead() if page.found_at else 0.0)

    def _write(self, lane: str, me: str, turn: str, sheet: Sheet, meeting: Meeting) -> None:
        if meeting.entry is None:
            self._end_turn(lane, turn, b"")
            return
        known, clock, entry = self._known[lane, me], self._clock, meeting.entry
        member = moved(entry.member, clock.offset, late=clock.error)
        entry = msgspec.structs.replace(entry, member=member, found_at=entry.found_at + self._ahead())
        sheet = msgspec.structs.replace(sheet, name=lane)
        sheet = written(sheet, me, entry, known.used, who=self._who, now=time.monotonic() + clock.offset)
        if not self._end_turn(lane, turn, msgspec.json.encode(sheet)):
            raise OutOfReachError(f"{self.place} took too long")
        known.sheet, known.used = sheet, added(known.used, entry.spent)

    def _ahead(self) -> float:
        """Of the server's time, to this machine's wall clock."""
        return self._clock.offset + time.monotonic() - time.time()

    def _take_turn(self, lane: str, turn: str) -> tuple[float, bytes | None]:
        """The server's time and the sheet, once it is our turn."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            now, done, *content = self._ask(lane, turn)
            if done:
                return now, content[0]
            time.sleep(random.uniform(*_POLL_SECONDS))
        raise OutOfReachError(f"{self.place} is kept busy by other processes")

    def _end_turn(self, lane: str, turn: str, content: bytes) -> bool:
        """Write the sheet and pass the turn on; False where it had run out."""
        with self._as_out_of_reach():
            _, done, *_ = self._ask(lane, turn, content, KEEP_SECONDS)
        return bool(done)

    def _ask(self, lane: str, turn: str, *more: Any) -> tuple[float, int, Any]:
        sent = time.monotonic()
        told, *answer = self._script([_LANE + lane, _TURN + lane], [turn, round(self._turn_seconds() * 1000), *more])
        now = float(told)
        self._clock.hear(sent, now, time.monotonic())
        return (now, *answer)

    def _turn_seconds(self) -> float:
        """Longer where the way is long."""
        return TURN_SECONDS + min(4 * self._clock.error, TURN_SECONDS)

    def _tell_time(self) -> float:
        sent = time.monotonic()
        seconds, microseconds = self._redis.time()
        now = seconds + microseconds / 1e6
        self._clock.hear(sent, now, time.monotonic())
        return now

    def _sheet_of(self, content: Any) -> Sheet:
        """StorageError for what is no sheet of ours."""
        try:
            sheet = Sheet() if content is None else _decode_sheet(content)
        except msgspec.DecodeError as error:
            raise self._unusable(f"what stands there is no sheet of a lane ({error})") from error
        if sheet.version > VERSION:
            raise self._unusable("it was written by a newer batchrunner")
        return sheet

    @contextmanager
    def _as_out_of_reach(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise OutOfReachError(f"{self.place} does not answer as it should: {error}") from error

    @contextmanager
    def _as_storage_error(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, why: str) -> StorageError:
        return StorageError(
            f"The shared book of limits, {self.place}, can't be used: {why}. Mend it, or run without --shared where "
            "nobody else uses this account."
        )
