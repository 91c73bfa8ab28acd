"""A store of an older version, shown as one of this version to who only reads it.

Views of the connection's own take the places of the tables that were others then; nothing is written into the store.
"""

import sqlite3

from batchrunner.store.schema import EMPTY

_TRIES = "CREATE TEMP VIEW tries AS SELECT rowid AS rowid, *, {} FROM main.tries"
_TRIES_2 = _TRIES.format(
    "NULL AS model, NULL AS cost, NULL AS most_prompt_tokens, NULL AS most_completion_tokens, NULL AS first_token_s"
)
_UNITS_1 = """
CREATE TEMP VIEW units AS SELECT number, ok, NULL AS digest,
    json_extract(CAST(outcome AS TEXT), '$.error.kind') AS kind,
    json_extract(CAST(outcome AS TEXT), '$.error.message') AS message
    FROM main.units
"""
_BODIES_1 = "CREATE TEMP VIEW bodies AS SELECT number, outcome FROM main.units"
_VIEWS = {
    0: EMPTY.replace("CREATE TABLE", "CREATE TEMP TABLE").split(";"),  # its maker did not come to make any table
    1: [_TRIES_2, _UNITS_1, _BODIES_1],
    2: [_TRIES_2],
    3: [_TRIES.format("NULL AS first_token_s")],
}


def show_as_now(db: sqlite3.Connection, version: int) -> None:
    """Over this connection a store of this older version answers what one of the present version would."""
    for statement in _VIEWS[version]:
        db.execute(statement)
