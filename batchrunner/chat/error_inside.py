"""Which HTTP status an error has that comes inside a stream, after a 200: the one it names or stands for."""

import msgspec

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# What errors call themselves that name no status.
_STATUS_OF = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "rate_limited": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "overloaded": 529,
    "service_unavailable": 503,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
}


def status_in(data: bytes) -> int | None:
    """The HTTP status that an error in a stream names or stands for."""
    try:
        content = msgspec.json.decode(data)
    except _UNREADABLE:
        return None
    error = content.get("error") if isinstance(content, dict) else None
    for table in (error, content):
        if isinstance(table, dict):
            for name in ("code", "status", "status_code", "type"):
                status = _as_status(table.get(name))
                if status is not None:
                    return status
    return None


def _as_status(value: object) -> int | None:
    if isinstance(value, str):
        known = _STATUS_OF.get(value.lower())
        if known is not None:
            return known
        value = int(value) if value.isascii() and value.isdigit() and len(value) == len("500") else None
    is_status = isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600  # noqa: PLR2004
    return int(value) if is_status and isinstance(value, int) else None
