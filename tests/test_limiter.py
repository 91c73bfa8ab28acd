"""The turnstile in virtual time: first in, first out; nothing taken by who leaves; woken by what changes."""

import random
from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio.testing

from batchrunner.limits.estimate import Estimate
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.lane import STALE_SECONDS, Lane, Limits
from batchrunner.limits.limiter import Limiter, SendingStoppedError
from batchrunner.limits.window import Dimension, Limit


def limits_of(dimension: Dimension, amount: int, seconds: float) -> Limits:
    return Limits(windows=(Limit(dimension=dimension, amount=amount, window_seconds=seconds),))


PER_SECOND = limits_of("requests", 10, 1.0)
ONE_A_MINUTE = limits_of("requests", 1, 60.0)
TOKENS = limits_of("tokens", 1000, 60.0)
ONE = Estimate(1.0)


def in_virtual_time(scene: Callable[[], Awaitable[None]]) -> None:
    """Hours pass at once."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(scene, backend="trio", backend_options={"clock": clock})


def limiter_of(limits: Limits) -> Limiter:
    return Limiter(Lane(limits, now=anyio.current_time()))


def over(limiter: Limiter, lease: Lease, counted: float | None = None) -> None:
    limiter.lane.over(lease, counted=counted)
    limiter.wake()


def test_four_thousand_waiters_are_let_through_in_order_at_the_rate_of_the_limit() -> None:
    order: list[int] = []

    async def scene() -> None:
        limiter = limiter_of(PER_SECOND)
        start = anyio.current_time()

        async def wait(number: int) -> None:
            over(limiter, await limiter.admit(ONE))
            order.append(number)

        async with anyio.create_task_group() as group:
            for number in range(4000):
                group.start_soon(wait, number)
                await anyio.lowlevel.checkpoint()
        rate = 4000 / (anyio.current_time() - start)
        assert 0.99 * 10 / 1.05 <= rate <= 10

    in_virtual_time(scene)
    assert order == sorted(order)
    assert len(order) == 4000


def test_a_large_unit_is_not_overtaken_by_small_ones_behind_it() -> None:
    order: list[str] = []

    async def scene() -> None:
        limiter = limiter_of(TOKENS)

        async def wait(name: str, tokens: int) -> None:
            over(limiter, await limiter.admit(Estimate(float(tokens))))
            order.append(name)

        async with anyio.create_task_group() as group:
            for name, tokens in (("first", 40), ("large", 900), *((f"small {n}", 1) for n in range(30))):
                group.start_soon(wait, name, tokens)
                await anyio.lowlevel.checkpoint()

    in_virtual_time(scene)
    assert order[:2] == ["first", "large"]


def test_who_comes_while_another_is_being_let_in_is_let_in_once() -> None:
    leases: dict[str, Lease] = {}

    async def scene() -> None:
        limiter, go = limiter_of(Limits(concurrency=2)), anyio.Event()
        first, second = await limiter.admit(ONE), await limiter.admit(ONE)

        async def wait(name: str, event: anyio.Event | None = None) -> None:
            if event is not None:
                await event.wait()
            leases[name] = await limiter.admit(ONE)

        async def end_that_of_the_head() -> None:
            await go.wait()
            over(limiter, leases["head"])

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for name in ("head", "next"):
                    group.start_soon(wait, name)
                    await anyio.lowlevel.checkpoint()
                group.start_soon(wait, "comer", go)
                group.start_soon(end_that_of_the_head)
                await anyio.wait_all_tasks_blocked()
                limiter.lane.over(first, counted=None)
                limiter.lane.over(second, counted=None)
                limiter.wake()
                go.set()
        assert limiter.lane.in_flight == 2
        assert limiter.waiting == 0

    anyio.run(scene)  # asyncio: whose turn it is comes first
    assert list(leases) == ["head", "next", "comer"]


@pytest.mark.parametrize("seed", range(20))
def test_whoever_comes_goes_or_loses_patience_everybody_is_let_in(seed: int) -> None:
    chance = random.Random(seed)
    admitted = 0

    async def scene() -> None:
        limiter = limiter_of(Limits(concurrency=3))

        async def dawdle() -> None:
            for _ in range(chance.randrange(6)):
                await anyio.lowlevel.checkpoint()

        async def work() -> None:
            nonlocal admitted
            for _ in range(20):
                await dawdle()
                with anyio.move_on_after(chance.choice((0.0, 60.0))) as impatient:
                    lease = await limiter.admit(ONE)
                    assert limiter.lane.in_flight <= 3
                    try:
                        await dawdle()
                    finally:
                        over(limiter, lease)
                admitted += not impatient.cancelled_caught

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(work)
        assert limiter.lane.in_flight == limiter.waiting == 0

    anyio.run(scene)
    assert admitted > 100


def test_a_waiter_that_is_cancelled_has_taken_nothing_and_blocks_nobody() -> None:
    async def scene() -> None:
        limiter = limiter_of(ONE_A_MINUTE)
        await limiter.admit(ONE)
        with anyio.move_on_after(5) as head:
            await limiter.admit(ONE)
        assert head.cancelled_caught
        assert limiter.waiting == 0
        start = anyio.current_time()
        await limiter.admit(ONE)
        assert anyio.current_time() - start <= 60.1 - 5

    in_virtual_time(scene)


def test_a_second_in_line_that_is_cancelled_leaves_the_line_whole() -> None:
    order: list[str] = []

    async def scene() -> None:
        limiter = limiter_of(limits_of("requests", 1, 10.0))
        await limiter.admit(ONE)

        async def wait(name: str) -> None:
            await limiter.admit(ONE)
            order.append(name)

        async with anyio.create_task_group() as group:
            group.start_soon(wait, "a")
            await anyio.sleep(1)
            with anyio.move_on_after(1):
                await limiter.admit(ONE)
            group.start_soon(wait, "b")

    in_virtual_time(scene)
    assert order == ["a", "b"]


def test_room_in_flight_wakes_the_head_of_the_line() -> None:
    async def scene() -> None:
        limiter = limiter_of(Limits(concurrency=1))
        lease = await limiter.admit(ONE)

        async def leave_later() -> None:
            await anyio.sleep(3)
            over(limiter, lease)

        async with anyio.create_task_group() as group:
            group.start_soon(leave_later)
            start = anyio.current_time()
            await limiter.admit(ONE)
            assert anyio.current_time() - start == pytest.approx(3)

    in_virtual_time(scene)


def test_tokens_given_back_wake_the_head_of_the_line() -> None:
    async def scene() -> None:
        limiter = limiter_of(TOKENS)
        lease = await limiter.admit(Estimate(900.0))

        async def leave_later() -> None:
            await anyio.sleep(10)
            over(limiter, lease, counted=0.0)

        async with anyio.create_task_group() as group:
            group.start_soon(leave_later)
            start = anyio.current_time()
            await limiter.admit(Estimate(50.0))
            assert anyio.current_time() - start == pytest.approx(10)

    in_virtual_time(scene)


def test_closing_sends_everybody_away() -> None:
    away: list[str] = []

    async def scene() -> None:
        limiter = limiter_of(ONE_A_MINUTE)
        await limiter.admit(ONE)

        async def expect_refusal(name: str, waiting: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(SendingStoppedError):
                await waiting()
            away.append(name)

        async with anyio.create_task_group() as group:
            for name in ("head", "second", "third"):
                group.start_soon(expect_refusal, name, lambda: limiter.admit(ONE))
            group.start_soon(expect_refusal, "napping", lambda: limiter.nap(1000))
            await anyio.sleep(1)
            limiter.close()
        await expect_refusal("late", lambda: limiter.admit(ONE))
        assert anyio.current_time() < 5

    in_virtual_time(scene)
    assert sorted(away) == ["head", "late", "napping", "second", "third"]


def test_nothing_is_admitted_beyond_the_lease_of_the_machines_book() -> None:
    async def scene() -> None:
        limiter = limiter_of(PER_SECOND)
        limiter.lane.leased_until = anyio.current_time() + 1
        await limiter.admit(ONE)
        await anyio.sleep(2)
        with anyio.move_on_after(60) as waiting:
            await limiter.admit(ONE)
        assert waiting.cancelled_caught
        limiter.lane.leased_until = anyio.current_time() + 1
        await limiter.admit(ONE)

    in_virtual_time(scene)


def test_a_lease_that_waited_too_long_for_its_connection_is_given_back_before_anything_is_written() -> None:
    async def scene() -> None:
        limiter = limiter_of(ONE_A_MINUTE)
        fresh = await limiter.admit(ONE)
        await anyio.sleep(STALE_SECONDS / 2)
        assert limiter.time_left(fresh) > 0
        await anyio.sleep(61)
        stale = await limiter.admit(ONE)
        await anyio.sleep(STALE_SECONDS * 2)
        assert limiter.time_left(stale) <= 0
        limiter.give_back(stale)
        start = anyio.current_time()
        await limiter.admit(ONE)
        assert anyio.current_time() == start
        assert limiter.lane.in_flight == 2

    in_virtual_time(scene)


def test_what_the_next_try_waited_for_is_summed_up() -> None:
    async def scene() -> None:
        limiter = limiter_of(PER_SECOND)
        for _ in range(50):
            over(limiter, await limiter.admit(ONE))
        bound = limiter.lane.sums.bound
        assert set(bound) == {"requests/second"}
        assert bound["requests/second"] >= 0.95 * anyio.current_time()

    in_virtual_time(scene)


async def three_at_once(senders: int) -> Limiter:
    """A limiter that lets three be in flight, after so many senders have sent twenty tries of a second each."""
    limiter = limiter_of(Limits(concurrency=3))

    async def send() -> None:
        for _ in range(20):
            lease = await limiter.admit(ONE)
            await anyio.sleep(1.0)
            over(limiter, lease)

    async with anyio.create_task_group() as group:
        for _ in range(senders):
            group.start_soon(send)
    return limiter


def test_senders_as_many_as_may_be_in_flight_are_bound_by_that_though_none_of_them_waits() -> None:
    async def scene() -> None:
        limiter = await three_at_once(3)
        bound = limiter.lane.sums.bound
        assert set(bound) == {"requests in flight"}
        assert 0.95 * anyio.current_time() <= bound["requests in flight"] <= anyio.current_time()

    in_virtual_time(scene)


@pytest.mark.parametrize(("senders", "bound"), [(2, 0.0), (4, 1.0)])
def test_fewer_senders_than_may_be_in_flight_are_not_bound_and_more_are_counted_once(
    senders: int, bound: float
) -> None:
    async def scene() -> None:
        limiter = await three_at_once(senders)
        assert limiter.lane.sums.bound["requests in flight"] <= bound * anyio.current_time()
        assert limiter.lane.sums.bound["requests in flight"] >= 0.8 * bound * anyio.current_time()

    in_virtual_time(scene)


def test_waiting_for_something_that_only_the_book_can_give_is_made_known() -> None:
    async def scene() -> None:
        limiter = limiter_of(PER_SECOND)
        limiter.lane.leased_until = float("-inf")
        with anyio.move_on_after(1):
            await limiter.admit(ONE)
        assert limiter.starving.is_set()

    in_virtual_time(scene)
