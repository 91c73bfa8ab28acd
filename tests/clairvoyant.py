"""The most that anybody could use of a scene's limits who knows them, the gateway's counting and every row's tokens.

He sends the rows in order, each at the very instant at which the gateway takes it, without a network between. What
he leaves unused is lost to any client: a large row waits for room, and a window ends with room for none.
"""

import heapq
import random

from batchrunner.limits.pace import MOST_WHEN_UNKNOWN
from batchrunner.simulator.meter import Meter, TokenAccounting, tokens_at_arrival
from batchrunner.simulator.window import SECOND_NS
from tests.virtual import LANE, Scene, draw_rows, instant, rules_of


def possible_use(scene: Scene) -> float:
    """Use of the limit that is used most, over as many requests as the scene has; a full bucket's start may pass 1."""
    draw, meter, now = random.Random(scene.seed), Meter(rules_of(scene)), 0.0
    accounting = TokenAccounting(scene.accounting)
    out: list[tuple[float, int]] = []  # when it will be done, tokens
    sums = {"requests": 0, "tokens": 0}
    for _, cost in draw_rows(scene, draw):
        if sums["requests"] >= scene.requests:
            break
        while True:
            while out and out[0][0] <= now:
                at, total = heapq.heappop(out)
                if accounting is TokenAccounting.COMPLETION:
                    meter.settle(LANE, total, instant(at))
                    sums["tokens"] += total
            full = meter.admit(LANE, cost, instant(now)) if len(out) < MOST_WHEN_UNKNOWN else None
            if full is not None:
                now += max(full.wait_ns, 1000) / SECOND_NS
            elif len(out) >= MOST_WHEN_UNKNOWN:
                now = out[0][0]
            else:
                break
        sums["requests"] += 1
        sums["tokens"] += tokens_at_arrival(accounting, cost)
        heapq.heappush(out, (now + scene.latency[0] * draw.lognormvariate(0.0, scene.latency[1]), cost.total))
    return max(sums[dimension] / (amount * now / window) for dimension, window, amount in scene.limits)
