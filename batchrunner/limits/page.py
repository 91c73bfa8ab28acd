"""What this machine's book holds of a lane, read from any connection to it: see account, which writes it."""

import hashlib
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from batchrunner.limits.day import Spent
from batchrunner.limits.sharing import Member
from batchrunner.limits.window import Dimension, Key

ALL_MODELS = "(all models)"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that was found out."""

    dimension: Dimension
    window_seconds: float
    amount: float

    @property
    def key(self) -> Key:
        """What tells a lane's limits apart."""
        return (self.dimension, self.window_seconds)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What the book holds of a lane. `gone_until`: Unix time until which a daily quota is gone, 0 if none is."""

    others: list[Member] = []
    days: dict[str, Spent] = {}
    found: list[Found] = []
    found_at: float = 0.0
    gone_until: float = 0.0


decode_member = msgspec.json.Decoder(Member).decode
_decode_found = msgspec.json.Decoder(list[Found]).decode


def name_in(salt: bytes, base_url: str, account: str, model: str) -> str:
    """See Book.lane_name."""
    digest = hashlib.blake2b(account.encode(), key=salt, digest_size=12).hexdigest()
    return f"{base_url} {digest} {model or ALL_MODELS}"


def page_in(db: sqlite3.Connection, lane: str, boot: str, but: str = "") -> Page:
    """What stands in a book of this lane since this boot, without what the process `but` wrote."""
    members = db.execute(
        "SELECT state FROM member WHERE lane = ? AND id != ? AND boot = ?", (lane, but, boot)
    ).fetchall()
    days = db.execute("SELECT day, requests, tokens FROM day WHERE lane = ?", (lane,)).fetchall()
    row = db.execute("SELECT found, found_at, gone_until FROM lane WHERE name = ?", (lane,)).fetchone()
    found, found_at, gone_until = row or (b"[]", 0.0, 0.0)
    return Page(
        others=[decode_member(state) for (state,) in members],
        days={day: Spent(requests, tokens) for day, requests, tokens in days},
        found=_decode_found(found),
        found_at=found_at,
        gone_until=gone_until,
    )


def boot_id() -> str:
    """A name for the time since this machine was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
        return f"started about {round((time.time() - time.monotonic()) / 60)}"
