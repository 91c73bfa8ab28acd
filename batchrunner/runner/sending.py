"""One try on its lane: written while its lease is fresh, understood, and learned from."""

import time

from batchrunner.job.schema import ModelPrices
from batchrunner.limits.in_flight import Lease
from batchrunner.limits.limiter import Limiter
from batchrunner.records import Broken, Failure, HttpReply, Request
from batchrunner.runner.learning import Learning
from batchrunner.runner.outcome import Came, read, with_body
from batchrunner.transport.http import HttpTransport


async def send_admitted(
    request: Request,
    lease: Lease,
    *,
    limiter: Limiter,
    learning: Learning,
    transport: HttpTransport,
    price: ModelPrices | None = None,
) -> tuple[Came, HttpReply | Broken | Failure] | None:
    """What one try brought, understood and as it came; the lane has taken in what it says of tokens and latency.

    None where nothing was sent: the connection was so long in coming that the lease had to be given up.
    """
    sent_at = time.time()
    try:
        brought = await transport.send(request, may_write=lambda: limiter.may_write(lease))
    except BaseException:
        limiter.lane.over(lease, counted=None)
        raise
    if brought is None:
        return None
    now = limiter.clock()
    came = read(brought, sent_at=sent_at, latency_s=now - lease.taken_at, check=request.check, price=price)
    if request.keeps_raw:
        came = with_body(came, brought)
    learning.take_in(request, lease, came, now)
    if isinstance(brought, HttpReply):
        learning.listen(brought, now)
    return came, brought
