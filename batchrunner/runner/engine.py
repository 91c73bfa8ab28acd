"""Where tries are sent from: this process (`local`), or workers of Ray, each with the same http transport.

What the workers are told is no secret: where the gateway is, and by which name of a variable or of a file they find the
key themselves.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec

from batchrunner.chat.stream import Fold
from batchrunner.errors import UsageError
from batchrunner.job.schema import Gateway, Job
from batchrunner.runner.keys import secrets_of
from batchrunner.runner.open_files import allow_many_files
from batchrunner.runner.settings import Settings
from batchrunner.transport.http import HttpTransport
from batchrunner.transport.secret import Secret
from batchrunner.transport.streaming import StreamingTransport
from batchrunner.transport.transport import Transport

_LATE_SECONDS = 0.1  # for the way to a worker, with what is gathered for it


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport is made of, beside secrets."""

    gateway: Gateway
    stream: bool
    timeout_seconds: float
    ca_bundle: str | None
    key_file: str | None
    simulate: bool


def check_engine(settings: Settings) -> None:
    """UsageError where the engine can't be used so."""
    address, key_file = settings.ray_address, settings.key_file
    if settings.engine != "ray":
        if address is not None:
            raise UsageError("--ray-address is for --engine ray: say that, too.")
        return
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs an extra: pip install 'batchrunner[ray]'")
    if address is not None and "://" in address:
        raise UsageError(
            f"--ray-address {address} is of Ray Client, which can't be used: run this on a node of it, with the "
            "cluster's HOST:PORT, or auto."
        )
    if key_file is not None and not settings.simulate and not key_file.is_file():
        raise UsageError(
            f"--engine ray: the workers read the key themselves, and can't from --api-key-file {key_file}: name a file "
            "that is there on every node, or a variable with --api-key-env."
        )


def late_seconds(settings: Settings) -> float:
    """By how much later than at once some tries are written."""
    return _LATE_SECONDS if settings.engine == "ray" else 0.0


def sending(job: Job, settings: Settings, key: Secret) -> AbstractAsyncContextManager[Transport]:
    """What sends the tries of this job."""
    told = Told(
        gateway=msgspec.structs.replace(job.gateway, account=""),
        stream=job.request.stream,
        timeout_seconds=job.retry.timeout,
        ca_bundle=_absolute(settings.ca_bundle),
        key_file=_absolute(settings.key_file),
        simulate=settings.simulate,
    )
    if settings.engine == "ray":
        return _from_workers(told, settings)
    return _http(told, key, settings.headers)


def transport_told(told: bytes) -> HttpTransport:
    """In a worker: the transport, with the key that is found here. NoKeyError where there is none."""
    allow_many_files()
    what = msgspec.json.decode(told, type=Told)
    key_file = None if what.key_file is None else Path(what.key_file)
    key, headers = secrets_of(what.gateway, key_file, simulate=what.simulate)
    return _http(what, key, headers)


@asynccontextmanager
async def _from_workers(told: Told, settings: Settings) -> AsyncIterator[Transport]:
    from batchrunner.transport.ray_cluster import connected  # noqa: PLC0415 - heavy

    async with connected(settings.ray_address, settings.workers):
        from batchrunner.transport.ray import ray_transport  # noqa: PLC0415 - heavy, and wants its environment

        async with ray_transport(transport_told, msgspec.json.encode(told), workers=settings.workers) as transport:
            yield transport


def _http(told: Told, key: Secret, headers: Mapping[str, str | Secret]) -> HttpTransport:
    make = partial(StreamingTransport, new_fold=Fold) if told.stream else HttpTransport
    return make(
        told.gateway.base_url,
        key=key,
        auth_scheme=told.gateway.auth_scheme,
        timeout_seconds=told.timeout_seconds,
        ca_bundle=None if told.ca_bundle is None else Path(told.ca_bundle),
        more_headers=headers,
    )


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
