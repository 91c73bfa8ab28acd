"""Gateways that a user names once, for all jobs: `[gateways.acme]` in ~/.config/batchrunner/config.toml.

A job says `gateway = "acme"`. What the profile says of limits and prices holds where the job says nothing. The file
is $BATCHRUNNER_CONFIG where that is set, else in $XDG_CONFIG_HOME.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchrunner.job.sheet import Sheet, parse_sheet, read_file

BESIDE = ("limits", "prices")  # the tables of a job that a profile may have within its own


def profiles_path(environment: Mapping[str, str]) -> Path:
    """Where the profiles stand."""
    if said := environment.get("BATCHRUNNER_CONFIG"):
        return Path(said)
    home = environment.get("XDG_CONFIG_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".config") / "batchrunner" / "config.toml"


def read_profiles(path: Path) -> Sheet:
    """The file of profiles; an empty one where there is none."""
    if not path.exists():
        return Sheet(name=str(path))
    return parse_sheet(read_file(path, "file of profiles"), name=str(path))


def profile(name: str, profiles: Sheet, job: Sheet) -> Sheet:
    """One of the profiles, with tables as a job has them. UsageError where there is none of this name."""
    for key in profiles.tables:
        if key != "gateways":
            raise profiles.error((key,), f"there is no key `{key}` here: profiles are tables such as [gateways.acme]")
    gateways = profiles.tables.get("gateways", {})
    if not isinstance(gateways, dict):
        raise profiles.error(("gateways",), "gateways takes tables such as [gateways.acme]")
    if name not in gateways:
        raise job.error(("gateway",), f'gateway = "{name}" is no profile in {profiles.name}; {_advice(name, gateways)}')
    own = gateways[name]
    if not isinstance(own, dict):
        raise profiles.error(("gateways", name), f"gateways.{name} takes a table")
    beside = {key: own[key] for key in BESIDE if key in own}
    tables = {"gateway": {key: value for key, value in own.items() if key not in BESIDE}, **beside}
    return Sheet(name=profiles.name, tables=tables, lines=profiles.lines, root=("gateways", name))


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, with what `over` says where both say something; tables within tables likewise."""
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def _advice(name: str, gateways: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, gateways, n=1, cutoff=0.5)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"there are: {', '.join(gateways)}" if gateways else "there are none: write a table [gateways.NAME]"
