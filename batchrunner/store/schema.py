"""The tables of the run store, and the way from each older version to this one.

`units` holds how each unit ended, a narrow row each, with the digest of what was asked; `bodies` the JSON of its output
row, until that is published elsewhere; `tries` every request that was sent; `facts` what the run is about.
"""

import sqlite3

VERSION = 4

_TABLES_2 = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tries(
    number INTEGER NOT NULL, sent_at REAL NOT NULL, latency_s REAL NOT NULL,
    kind TEXT, status INTEGER, message TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER,
    cached_tokens INTEGER, reasoning_tokens INTEGER, finish_reason TEXT
);
"""
_TAKE_OVER_2 = """
ALTER TABLE tries ADD COLUMN model TEXT;
ALTER TABLE tries ADD COLUMN cost REAL;
ALTER TABLE tries ADD COLUMN most_prompt_tokens INTEGER;
ALTER TABLE tries ADD COLUMN most_completion_tokens INTEGER;
"""
_TAKE_OVER_3 = "ALTER TABLE tries ADD COLUMN first_token_s REAL;"
UNITS = "CREATE TABLE units(number INTEGER PRIMARY KEY, ok INTEGER NOT NULL, digest BLOB, kind TEXT, message TEXT)"
BODIES = "CREATE TABLE bodies(number INTEGER PRIMARY KEY, outcome BLOB NOT NULL)"
_UNITS = f"{UNITS};\n{BODIES};\n"
_SET_1_ASIDE = """
DROP INDEX ended;
ALTER TABLE units RENAME TO units_1;
"""
_TAKE_OVER_1 = """
INSERT INTO bodies SELECT number, outcome FROM units_1;
INSERT INTO units SELECT number, ok, NULL,
    json_extract(CAST(outcome AS TEXT), '$.error.kind'), json_extract(CAST(outcome AS TEXT), '$.error.message')
    FROM units_1;
DROP TABLE units_1;
"""
EMPTY = _TABLES_2 + _TAKE_OVER_2 + _TAKE_OVER_3 + _UNITS
_STEPS = {  # all that is needed from that version on
    0: EMPTY,
    1: _SET_1_ASIDE + _UNITS + _TAKE_OVER_1 + _TAKE_OVER_2 + _TAKE_OVER_3,
    2: _TAKE_OVER_2 + _TAKE_OVER_3,
    3: _TAKE_OVER_3,
}


def bring_up(db: sqlite3.Connection) -> int:
    """Make the tables, or those of an older version into these, in one transaction; the version found.

    A newer version is left alone.
    """
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    if found < VERSION:
        db.executescript(f"BEGIN IMMEDIATE; {_STEPS[found]} PRAGMA user_version={VERSION}; COMMIT;")
    return found
