"""No secret has a place in a file of settings: which keys and values are taken for one, and how values are shown."""

import json
import re
from typing import Any

ADVICE = 'no secrets in files: name the variable that holds it, api_key_env = "NAME", or say --api-key-file PATH'
_LONGEST_SHOWN = 60
_KEYS = frozenset(("key", "apikey", "api_key", "token", "api_token", "access_token", "auth_token", "bearer"))
_NAMES = _KEYS | {"secret", "api_secret", "client_secret", "password", "passwd", "authorization", "credentials"}
_MARKED = re.compile(r"\s*(bearer|basic|api-key|token|sk|pk|rk|pat|key|ghp|gho|hf|xox[abp])[-_ ]\S{8,}", re.IGNORECASE)
_RUN = re.compile(r"[A-Za-z0-9+/=_]{16,}")


def is_secret_name(key: str) -> bool:
    """Whether a key of this name would hold a secret."""
    return key.lower().replace("-", "_") in _NAMES


def looks_secret(text: str) -> bool:
    """Whether a text may be a key or token: marked as one, or 16 letters and digits in a row."""
    runs = _RUN.findall(text)
    return bool(_MARKED.match(text)) or any(re.search("[0-9]", run) and re.search("[A-Za-z]", run) for run in runs)


def shown(value: Any) -> str:
    """A value as TOML writes it, cut short; nothing of what may be a secret."""
    if isinstance(value, str) and looks_secret(value):
        return "a text that may be a secret"
    words = str(value).lower() if isinstance(value, bool) else _written(value)
    return words if len(words) <= _LONGEST_SHOWN else words[: _LONGEST_SHOWN - 1] + "…"


def _written(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**30:  # longer ones may not be printable at all
        return "a number of more than 30 digits"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
