"""What the driver and its workers say to each other: plain records as MessagePack, no pickle, and no key in any."""

import msgspec

from batchrunner.records import Broken, Failure, HttpReply
from batchrunner.transport.transport import Brought


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """A worker stands: its version of batchrunner, its clock, and why it can't send, if it can't; `lacks_key`: as it
    finds no key."""

    version: str
    at: float
    trouble: str | None = None
    lacks_key: bool = False


class Handed(msgspec.Struct, frozen=True, array_like=True):
    """A request to be sent: a number of the driver's, the seconds in which it may be written, its body."""

    number: int
    left_s: float
    body: bytes


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Requests to be sent, and the numbers of some that nobody waits for any more.

    `heard_at` is the worker's own clock as the driver heard it last, and `held_s` how long ago that was: so the worker
    knows the most that this batch can have been on its way, whatever the clocks of both machines say.
    """

    heard_at: float
    held_s: float
    requests: list[Handed] = []
    given_up: list[int] = []

    def age(self, now: float) -> float:
        """The most that it can have been on its way, in seconds, when it comes to the worker at `now`."""
        return max(0.0, now - self.heard_at - self.held_s)


class Finished(msgspec.Struct, frozen=True, array_like=True):
    """A request that is over. Without reply and failure it was not written; `so_far`: of a stream that broke off."""

    number: int
    reply: HttpReply | None = None
    failure: Failure | None = None
    so_far: bytes | None = None

    @property
    def brought(self) -> Brought | None:
        """What the try brought, as the transport told it."""
        how = self.reply or self.failure
        return how if how is None or self.so_far is None else Broken(how=how, so_far=self.so_far)


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What is over, and the worker's clock."""

    at: float
    finished: list[Finished]


def finished(number: int, brought: Brought | None) -> Finished:
    """The record of what a try brought."""
    match brought:
        case None:
            return Finished(number)
        case HttpReply():
            return Finished(number, reply=brought)
        case Failure():
            return Finished(number, failure=brought)
        case Broken(how=how, so_far=so_far):
            return msgspec.structs.replace(finished(number, how), so_far=so_far)


def encoded(taken: Taken) -> bytes:
    """As MessagePack. Headers may hold bytes that are no UTF-8, which are replaced then."""
    try:
        return msgspec.msgpack.encode(taken)
    except UnicodeEncodeError:
        return msgspec.msgpack.encode(Taken(taken.at, [_in_utf8(one) for one in taken.finished]))


def _in_utf8(one: Finished) -> Finished:
    if one.reply is None:
        return one
    headers = {_replaced(name): _replaced(value) for name, value in one.reply.headers.items()}
    return Finished(one.number, msgspec.structs.replace(one.reply, headers=headers), one.failure, one.so_far)


def _replaced(text: str) -> str:
    return text.encode(errors="replace").decode()
