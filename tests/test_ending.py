"""Of several lanes' endings the run's is the one whose exit code comes first, whichever lane was opened first."""

import pytest

from batchrunner.folder.ending import End, Ending, first_in_order


def ending(end: End, resume_at: float | None = None) -> Ending:
    return Ending(end=end, message="", resume_at=resume_at)


PARKED, PARKED_LONGER = ending(End.PARKED, 100.0), ending(End.PARKED, 200.0)
REFUSED, AWAY = ending(End.REFUSED), ending(End.UNREACHABLE)


@pytest.mark.parametrize(
    ("endings", "first"),
    [
        ([], None),
        ([PARKED], PARKED),
        ([PARKED, REFUSED], REFUSED),
        ([REFUSED, PARKED], REFUSED),
        ([AWAY, PARKED, REFUSED], REFUSED),
        ([PARKED_LONGER, PARKED], PARKED),
    ],
)
def test_the_first_in_the_order_of_exit_codes_is_the_runs(endings: list[Ending], first: Ending | None) -> None:
    assert first_in_order(endings) == first
