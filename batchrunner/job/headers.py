"""Extra headers of every request: their names and values as RFC 9110 has them, and no secret in a file.

A header whose value is a secret says which environment variable holds it: `{ env = "NAME" }`.
"""

import re
from collections.abc import Iterator, Mapping

from batchrunner.job.schema import FromEnvironment
from batchrunner.job.secrets import looks_secret

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_FRAMING = frozenset(("content-type", "content-length", "content-encoding", "accept-encoding", "host", "expect"))
_CONNECTION = frozenset(("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"))
_OURS = _FRAMING | _CONNECTION | {"authorization", "proxy-authorization", "proxy-connection"}
_SECRET = re.compile(r"key|token|secret|password|cookie|credential|signature|auth", re.IGNORECASE)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def faults_of_headers(headers: Mapping[str, str | FromEnvironment]) -> Iterator[tuple[str, str]]:
    """What is wrong with them: the header's name, and words that follow its place. No value is quoted."""
    seen: set[str] = set()
    for name, value in headers.items():
        fault = _fault_of_name(name, seen) or _fault_of_value(name, value)
        if fault is not None:
            yield name, fault
        seen.add(name.lower())


def is_header_value(text: str) -> bool:
    """Whether a text can stand as the value of a header."""
    return bool(_VALUE.fullmatch(text))


def _fault_of_name(name: str, seen: set[str]) -> str | None:
    if not _NAME.fullmatch(name):
        return "is no name of a header: letters, digits and hyphens only"
    if name.lower() in _OURS:
        return "is set by batchrunner itself and can't be another"
    return "is there twice: the case of letters makes no other header" if name.lower() in seen else None


def _fault_of_value(name: str, value: str | FromEnvironment) -> str | None:
    if isinstance(value, FromEnvironment):
        well_named = VARIABLE.fullmatch(value.env)
        return None if well_named else "takes the name of an environment variable as `env`, never the secret itself"
    if not is_header_value(value):
        return "is empty or has characters that can't stand in an HTTP header"
    if _SECRET.search(name) or looks_secret(value):
        return f'may be a secret: no secrets in files, name the variable that holds it, {name} = {{ env = "NAME" }}'
    return None
