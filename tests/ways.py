"""The three ways in which gateways count tokens, for the tests that have a limit of tokens."""

from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Way:
    """How the simulator counts, and how the client has to. `late`: only when the answer is done."""

    counting: str
    accounting: str
    late: bool = False

    @property
    def gateway(self) -> tuple[str, str]:
        """Options of `simulate`."""
        return ("--token-accounting", self.counting)

    @property
    def client(self) -> tuple[str, str]:
        """Options of `run`."""
        return ("--token-accounting", self.accounting)

    def most(self, limit: int, in_flight: int, tokens: int) -> int:
        """The most that any window may hold, when all answers use so many tokens each.

        The reservations never pass the limit. A gateway that counts late counts what was in flight in another
        window than that for which it was reserved, and lets any request in while there is any room.
        """
        return limit + in_flight * tokens if self.late else limit


ADMISSION = Way("admission", "settled")
COMPLETION = Way("completion", "settled", late=True)
UPFRONT = Way("upfront", "upfront")


def named(way: Way) -> str:
    """Its name in a test's."""
    return way.counting


in_every_way = pytest.mark.parametrize("way", [ADMISSION, COMPLETION, UPFRONT], ids=named)
where_use_is_counted = pytest.mark.parametrize("way", [ADMISSION, COMPLETION], ids=named)


def counted(entries: list[dict[str, Any]]) -> int:
    """Tokens that the gateway has counted, in its own way."""
    return sum(entry["counted_tokens"] for entry in entries if entry["admitted"])
