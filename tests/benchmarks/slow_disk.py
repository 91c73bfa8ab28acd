"""`python -m tests.benchmarks.slow_disk SECONDS ...`: a disk whose commits take that much longer."""

import sys
import time
from collections.abc import Sequence

from batchrunner.cli import main
from batchrunner.store.database import Store
from batchrunner.store.rows import Entry

SECONDS = float(sys.argv.pop(1))
_commit = Store.commit


def _slowly(store: Store, entries: Sequence[Entry]) -> None:
    time.sleep(SECONDS)
    _commit(store, entries)


if __name__ == "__main__":
    Store.commit = _slowly  # type: ignore[method-assign]
    main()
