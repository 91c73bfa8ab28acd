"""batchrunner: a file of prompts becomes a file of answers through a rate-limited gateway.

From Python: `run`, `retry` and `Runner`. Loaded when they are used, as the command line starts quicker without.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchrunner.api import Answer, Finished, Outcome, Progress, Runner, retry, run
    from batchrunner.errors import BatchrunnerError

__version__ = "0.1.0"
__all__ = ["Answer", "BatchrunnerError", "Finished", "Outcome", "Progress", "Runner", "__version__", "retry", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "BatchrunnerError":
        from batchrunner import errors  # noqa: PLC0415

        return errors.BatchrunnerError
    from batchrunner import api  # noqa: PLC0415

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
