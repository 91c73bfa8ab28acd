"""What a run folder remembers of the command line of `run`, to go on with; no key or password is among it."""

import sys
from collections.abc import Iterable

import click
from click.core import ParameterSource

from batchrunner.limits.redis_place import without_password

_FOR_ONCE = {"--resume": True, "--on-drift": True, "--now": False, "--overwrite": False}  # True: with a value
_OF_A_GATEWAY = {"--base-url": True, "--api-key-env": True, "--api-key-file": True}
_OF_ENVIRONMENT = {"base_url": "--base-url", "state_dir": "--state-dir", "shared_url": "--shared"}


def arguments_to_remember(context: click.Context) -> list[str]:
    """The arguments of this command without what would start anew or was meant for this once, with what the
    environment said; a simulated run needs nothing that may be a secret."""
    arguments = _without(sys.argv[1:], _FOR_ONCE | (_OF_A_GATEWAY if context.params["simulate"] else {}))
    for name, option in _OF_ENVIRONMENT.items():
        said = context.get_parameter_source(name) is ParameterSource.ENVIRONMENT
        if said and not (context.params["simulate"] and option in _OF_A_GATEWAY):
            arguments += [option, str(context.params[name])]
    return [without_password(argument) for argument in arguments]


def arguments_of_one(job: str, jobs: Iterable[str], arguments: list[str]) -> list[str]:
    """The arguments by which one of several jobs would run alone."""
    others = {other for other in jobs if other != job}
    return [argument for argument in arguments if argument not in others]


def _without(arguments: list[str], options: dict[str, bool]) -> list[str]:
    """The arguments without these options; True: and the value that follows."""
    kept, skip = [], False
    for argument in arguments:
        name = argument.partition("=")[0]
        if not skip and name not in options:
            kept.append(argument)
        skip = not skip and options.get(argument, False)
    return kept
