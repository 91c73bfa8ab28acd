"""One try on its lane: written while its lease is fresh, understood, and learned from."""

import time

from batchrunner.job.schema import ModelPrices
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.limiter import Limiter
from batchrunner.records import Broken, Failure, HttpReply, Request
from batchrunner.runner.learning import Learning
from batchrunner.runner.outcome import Came, read, with_body
from batchrunner.transport.transport import Transport


async def send_admitted(
    request: Request,
    lease: Lease,
    *,
    limiter: Limiter,
    learning: Learning,
    transport: Transport,
    price: ModelPrices | None = None,
) -> tuple[Came, HttpReply | Broken | Failure] | None:
    """What one try brought, understood and as it came; the lane has taken in what it says of tokens and latency.

    None where nothing was sent: the connection was so long in coming that the lease had to be given back.
    """
    sent_at = time.time()
    try:
        brought = await transport.send(request, time_left=lambda: limiter.time_left(lease))
    except BaseException:
        limiter.lane.over(lease, counted=None)
        raise
    if brought is None:
        limiter.give_back(lease)
        return None
    now = limiter.clock()
    came = read(brought, sent_at=sent_at, latency_s=now - lease.taken_at, check=request.check, price=price)
    if request.keeps_raw:
        came = with_body(came, brought)
    learning.take_in(request, lease, came, now)
    if isinstance(brought, HttpReply):
        learning.listen(brought, now)
    return came, brought
