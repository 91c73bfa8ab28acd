"""Where the job's secrets are: its key, and headers that stand in the environment."""

from pathlib import Path

from batchrunner.errors import NoKeyError
from batchrunner.job.schema import KEY_VARIABLES, FromEnvironment, Gateway
from batchrunner.transport.secret import Secret, key_from_environment, key_from_file


def secrets_of(gateway: Gateway, key_file: Path | None, *, simulate: bool) -> tuple[Secret, dict[str, str | Secret]]:
    """The key and the extra headers; a simulated gateway needs neither."""
    if simulate:
        return Secret("no-key-for-a-simulated-gateway"), {}  # no word that a reply may hold: it would be redacted
    headers = _headers_of(gateway)
    return _key_of(gateway, key_file), headers


def _key_of(gateway: Gateway, path: Path | None) -> Secret:
    """The key in this file, or in the environment. NoKeyError where there is none."""
    if path is not None:
        return key_from_file(path)
    named = gateway.api_key_env
    key = key_from_environment(KEY_VARIABLES if named is None else (named,))
    if key is None:
        variables = " or ".join(KEY_VARIABLES) if named is None else "the variable that --api-key-env names"
        raise NoKeyError(
            f"There is no API key: set {variables}, or name a file with --api-key-file. (--simulate needs none.)"
        )
    return key


def _headers_of(gateway: Gateway) -> dict[str, str | Secret]:
    """What stands in the environment is read."""
    headers: dict[str, str | Secret] = {}
    for name, value in gateway.headers.items():
        headers[name] = _from_environment(name, value.env) if isinstance(value, FromEnvironment) else value
    return headers


def _from_environment(header: str, variable: str) -> Secret:
    """The secret value of a header. The message quotes neither it nor what may be it in the wrong place."""
    try:
        found = key_from_environment((variable,))
    except NoKeyError as error:
        raise NoKeyError(f"The variable of the header {header} has spaces or other signs that no key has.") from error
    if found is None:
        raise NoKeyError(f"The header {header} has its value in a variable of the environment that is not set.")
    return found
