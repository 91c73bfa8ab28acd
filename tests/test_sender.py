"""What a worker does with what it is handed, and how long that may have been on its way."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
import pytest
from conftest import KEY, Gateway, Simulate

from batchrunner import __version__
from batchrunner.errors import NoKeyError
from batchrunner.records import Broken, Failure, HttpReply, Kind
from batchrunner.transport.handed import Batch, Begun, Finished, Handed, Taken, encoded, finished
from batchrunner.transport.http import HttpTransport
from batchrunner.transport.secret import Secret
from batchrunner.transport.sender import Sender

BODY = b'{"model": "org/model", "messages": [{"role": "user", "content": "Why?"}]}'
REPLY = HttpReply(status=200, headers={"x": "y"}, body=b"{}")
FAILURE = Failure(kind=Kind.RESET, message="it broke")


@pytest.mark.parametrize(
    ("heard_at", "held_s", "now", "age"),
    [
        (100.0, 0.0, 100.5, 0.5),  # heard just now by the driver, half a second ago here
        (100.0, 0.4, 100.5, 0.1),  # the driver kept it for most of that
        (100.0, 0.9, 100.5, 0.0),  # its clock goes faster: none of both can be sent before it is there
    ],
)
def test_the_time_on_the_way_is_what_the_driver_did_not_have_it(
    heard_at: float, held_s: float, now: float, age: float
) -> None:
    assert Batch(heard_at, held_s).age(now) == pytest.approx(age)


@pytest.mark.parametrize(
    "brought", [None, REPLY, FAILURE, Broken(how=REPLY, so_far=b"a"), Broken(how=FAILURE, so_far=b"")]
)
def test_what_a_try_brought_comes_back_as_it_was(brought: Any) -> None:
    taken = msgspec.msgpack.decode(encoded(Taken(1.0, [finished(7, brought)])), type=Taken)
    assert [(one.number, one.brought) for one in taken.finished] == [(7, brought)]


def test_headers_that_are_no_utf_8_do_not_lose_the_answers_beside_them() -> None:
    odd = HttpReply(status=200, headers={"x": b"\xff".decode(errors="surrogateescape")}, body=b"\xff")
    taken = msgspec.msgpack.decode(encoded(Taken(1.0, [finished(1, odd), finished(2, REPLY)])), type=Taken)
    assert [one.brought for one in taken.finished] == [
        HttpReply(status=200, headers={"x": "?"}, body=b"\xff"),
        REPLY,
    ]


def at_work(gateway: Gateway, scene: Callable[[Sender], Awaitable[list[Finished]]]) -> list[Finished]:
    """What is over of a worker in this process."""

    async def main() -> list[Finished]:
        sender = Sender(lambda told: HttpTransport(told.decode(), key=Secret(KEY)), gateway.base_url.encode())
        assert msgspec.msgpack.decode(await sender.begin(), type=Begun).version == __version__
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.work)
            over = await scene(sender)
            tasks.cancel_scope.cancel()
        return over

    return anyio.run(main)


async def taken_from(sender: Sender, count: int) -> list[Finished]:
    """So many that are over."""
    found: list[Finished] = []
    with anyio.fail_after(20):
        while len(found) < count:
            found += msgspec.msgpack.decode(await sender.take(), type=Taken).finished
    return found


def handed(*requests: Handed, late: float = 0.0, given_up: tuple[int, ...] = ()) -> bytes:
    """A batch that was so long on its way."""
    return msgspec.msgpack.encode(Batch(time.monotonic() - late, 0.0, list(requests), list(given_up)))


def test_what_was_too_long_on_its_way_is_not_written(simulate: Simulate) -> None:
    gateway = simulate()

    async def scene(sender: Sender) -> list[Finished]:
        await sender.hand(handed(Handed(1, 0.5, BODY), late=0.6))
        await sender.hand(handed(Handed(2, 0.5, BODY)))
        return await taken_from(sender, 2)

    over = {one.number: one.brought for one in at_work(gateway, scene)}
    assert over[1] is None
    assert isinstance(over[2], HttpReply)
    assert gateway.ledger()["arrivals"] == 1


def test_a_slow_answer_holds_up_no_other_and_one_that_nobody_waits_for_is_left(simulate: Simulate) -> None:
    gateway = simulate("--latency", "1")
    quick = BODY.replace(b"Why?", b"[[status:422]] Why?")

    async def scene(sender: Sender) -> list[Finished]:
        await sender.hand(handed(Handed(1, 9.0, BODY), Handed(2, 9.0, BODY), Handed(3, 9.0, quick)))
        first = await taken_from(sender, 1)
        await sender.hand(handed(given_up=(1,)))
        return first + await taken_from(sender, 1)

    assert [one.number for one in at_work(gateway, scene)] == [3, 2]
    assert gateway.ledger()["client_left"] == 1


def test_a_worker_says_what_it_lacks() -> None:
    def make(_: bytes) -> HttpTransport:
        raise NoKeyError("There is no API key.")

    begun = msgspec.msgpack.decode(anyio.run(Sender(make, b"").begin), type=Begun)
    assert (begun.trouble, begun.lacks_key) == ("There is no API key.", True)
