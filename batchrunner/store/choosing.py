"""A store of which some units alone count, as where a sample of the input is asked.

Views of the connection's own take the places of the tables, so that every question is asked of the chosen units; what
is written names its table, `main.units`, and is never narrowed.
"""

import sqlite3

from batchrunner.store.bitmap import Bitmap

_VIEW = "CREATE TEMP VIEW {0} AS SELECT * FROM main.{0} WHERE chosen(number / {1})"


def choose(db: sqlite3.Connection, chosen: Bitmap, arms: int) -> None:
    """Nothing that is read over this connection is of other rows from here on, of which each has so many units."""
    db.create_function("chosen", 1, chosen.__contains__, deterministic=True)
    for table in ("units", "bodies"):
        db.execute(_VIEW.format(table, arms))
