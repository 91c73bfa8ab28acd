"""The job, as a record: what a job file says and options override. One class a table of the file."""

from pathlib import Path
from typing import Any, Literal

import msgspec

BASE_URL = "https://inference.baseten.co/v1"
KEY_VARIABLES = ("BATCHRUNNER_API_KEY", "BASETEN_API_KEY")


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the job file: an unknown key is an error."""


class Gateway(Table, frozen=True):
    """Where to ask and with which key."""

    base_url: str = BASE_URL
    api_key_env: str | None = None
    auth_scheme: Literal["Api-Key", "Bearer"] = "Api-Key"
    account: str = ""


class RequestTable(Table, frozen=True):
    """What is asked of every row."""

    model: str | None = None
    system: str | None = None
    prompt: str | None = None
    params: dict[str, Any] = {}


class LimitsTable(Table, frozen=True):
    """What the account may use; None is not limited, or not known."""

    requests_per_second: int | None = None
    requests_per_minute: int | None = None
    tokens_per_second: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | Literal["auto"] = "auto"


class Retry(Table, frozen=True):
    """How often and how long one unit is tried. Times in seconds."""

    attempts: int = 6
    timeout: float = 1200.0


class Job(Table, frozen=True):
    """One input, one output and all between. Paths are absolute or relative to the working folder."""

    input: str
    output: str | None = None
    gateway: Gateway = Gateway()
    request: RequestTable = RequestTable()
    limits: LimitsTable = LimitsTable()
    retry: Retry = Retry()

    @property
    def input_path(self) -> Path:
        """Where the rows are."""
        return Path(self.input)

    @property
    def output_path(self) -> Path:
        """Where the answers go: as said, or beside the input."""
        if self.output is not None:
            return Path(self.output)
        return self.input_path.with_suffix(".results.jsonl")
