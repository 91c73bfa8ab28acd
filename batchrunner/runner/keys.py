"""Where the job's key is."""

import re
from pathlib import Path

from batchrunner.errors import NoKeyError, UsageError
from batchrunner.job.schema import KEY_VARIABLES, Job
from batchrunner.transport.secret import Secret, key_from_environment, key_from_file


def key_of(job: Job, path: Path | None) -> Secret:
    """The key in this file, or in the environment. NoKeyError where there is none."""
    if path is not None:
        return key_from_file(path)
    named = job.gateway.api_key_env
    if named is not None and not re.fullmatch(r"[A-Za-z_]\w*", named):
        raise UsageError("--api-key-env takes the name of an environment variable, never the key itself.")
    key = key_from_environment(KEY_VARIABLES if named is None else (named,))
    if key is None:
        variables = " or ".join(KEY_VARIABLES) if named is None else "the variable that --api-key-env names"
        raise NoKeyError(
            f"There is no API key: set {variables}, or name a file with --api-key-file. (--simulate needs none.)"
        )
    return key
