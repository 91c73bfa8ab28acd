"""What makes the answers of two runs comparable: not the key, limits or time-outs, nor streams. Pure."""

import hashlib

import msgspec

from batchrunner.job.schema import Job

_LONGEST_VALUE = 200
_ALWAYS_TOLD = frozenset({"model", "system", "prompt", "params"})  # of [request]; earlier versions knew only these


def identity_of(job: Job, fingerprint: str, base_url: str) -> dict[str, str]:
    """The parts whose change makes an earlier run another one."""
    request = msgspec.to_builtins(job.request) | ({"sweep": job.sweep} if job.sweep else {})
    encoded = {
        name: msgspec.json.encode(value, order="sorted").decode()
        for name, value in request.items()
        if name != "stream" and (value or name in _ALWAYS_TOLD)
    }
    kept = {"keep": msgspec.json.encode(job.keep).decode()} if job.keep else {}
    return {
        "input": fingerprint,
        "base_url": base_url,
        **kept,
        **{name: short(value) for name, value in encoded.items()},
    }


def short(text: str) -> str:
    """The text, or its digest where it is long."""
    return text if len(text) <= _LONGEST_VALUE else "sha256 " + hashlib.sha256(text.encode()).hexdigest()
