"""The job, as a record: what a job file says and options override. One class a table of the file."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from batchrunner.errors import UsageError
from batchrunner.job.reset import parse_reset
from batchrunner.job.times import parse_duration

BASE_URL = "https://inference.baseten.co/v1"
STANDARD_INPUT = STANDARD_OUTPUT = "-"
_GLOB_SIGNS = frozenset("*?[")
KEY_VARIABLES = ("BATCHRUNNER_API_KEY", "BASETEN_API_KEY")
NO_KEYS = frozenset(("models", "of_profile", "places"))  # fields that no file says by their names


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the job file: an unknown key is an error."""


class FromEnvironment(Table, frozen=True):
    """A value that stands in an environment variable, `{ env = "NAME" }`."""

    env: str


class Gateway(Table, frozen=True):
    """Where to ask and with which key. `headers` go with every request."""

    base_url: str = BASE_URL
    api_key_env: str | None = None
    auth_scheme: Literal["Api-Key", "Bearer"] = "Api-Key"
    account: str = ""
    headers: dict[str, str | FromEnvironment] = {}


class RequestTable(Table, frozen=True):
    """What is asked of every row. `system`, `prompt` and the texts in `messages` are templates; `files` is the folder
    in which the local files may be that parts of messages name."""

    model: str | None = None
    system: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] = []
    stream: bool = False
    params: dict[str, Any] = {}
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] = {}
    row_params: list[str] = []
    files: str | None = None

    @property
    def all_params(self) -> dict[str, Any]:
        """`params` and what has a place of its own; where something is said twice, `params` hold, as an option's do."""
        own = {"tools": self.tools, "tool_choice": self.tool_choice, "response_format": self.response_format}
        return {name: value for name, value in own.items() if value} | self.params


class Amounts(Table, frozen=True):
    """What may be used in a second, a minute, a day, and be in flight; None is not limited, or not known."""

    requests_per_second: int | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_second: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    max_concurrency: int | None = None


class ModelLimits(Amounts, frozen=True):
    """What is different for one model, `[limits."acme/small"]`; None is as for every model."""

    daily_reset: str | None = None
    token_accounting: Literal["settled", "upfront"] | None = None
    concurrency: int | Literal["auto"] | None = None


class LimitsTable(Amounts, frozen=True):
    """What each model, or the account, may use. `models` holds the tables within this one, by their models' names;
    `of_profile` the names of those that the job took over with its gateway, whether it asks these models or not;
    `shared`: where the book is that several machines share (redis://...)."""

    daily_reset: str = "00:00 UTC"
    token_accounting: Literal["settled", "upfront"] = "settled"
    concurrency: int | Literal["auto"] = "auto"
    scope: Literal["model", "account"] = "model"
    shared: str | None = None
    models: dict[str, ModelLimits] = {}
    of_profile: tuple[str, ...] = ()

    def for_model(self, model: str) -> "LimitsTable":
        """The limits of one model's lane: what its own table says, else what is said for all."""
        own = msgspec.structs.asdict(self.models.get(model, ModelLimits()))
        said = {name: value for name, value in own.items() if value is not None}
        return msgspec.structs.replace(self, models={}, **said)

    @property
    def reset(self) -> tuple[int, int, str]:
        """`daily_reset` as hour, minute and zone."""
        return parse_reset(self.daily_reset)


class ModelPrices(Table, frozen=True):
    """What a million tokens cost; None is not known. `cached`: prompt tokens that the gateway had in its cache; where
    nobody says what they cost they cost what others do."""

    prompt: float | None = None
    cached: float | None = None
    completion: float | None = None


class PricesTable(ModelPrices, frozen=True):
    """The prices of every model. `models` holds the tables within this one, `[prices."acme/small"]`, by their models'
    names; what these do not say is as for every model."""

    models: dict[str, ModelPrices] = {}

    def for_model(self, model: str) -> ModelPrices:
        """The prices of one model."""
        own, common = self.models.get(model, ModelPrices()), self
        names = ModelPrices.__struct_fields__
        said = {name: getattr(own, name) if getattr(own, name) is not None else getattr(common, name) for name in names}
        return ModelPrices(**said)


class Retry(Table, frozen=True):
    """How often and how long one unit is tried. Times in seconds. `invalid_answers`: further tries for an answer that
    is not what was asked for; `tell_errors`: and the model is told what was wrong; `fail_on`: finish reasons."""

    attempts: int = 6
    timeout: float = 1200.0
    invalid_answers: int = 2
    tell_errors: bool = False
    fail_on: list[str] = []


class RunTable(Table, frozen=True):
    """How the run goes. Without `on_daily_limit` it waits where somebody watches and parks elsewhere. `until`,
    `max_duration` (seconds, or a text such as "8h"): when sending stops; `budget_cost`, `budget_tokens`: what all runs
    of the output may take together."""

    on_daily_limit: Literal["wait", "park"] | None = None
    until: str | None = None
    max_duration: float | str | None = None
    budget_cost: float | None = None
    budget_tokens: int | None = None

    @property
    def max_seconds(self) -> float | None:
        """`max_duration` in seconds."""
        return parse_duration(self.max_duration) if isinstance(self.max_duration, str) else self.max_duration

    @property
    def has_budget(self) -> bool:
        """Whether it has any."""
        return self.budget_cost is not None or self.budget_tokens is not None


class Job(Table, frozen=True):
    """One input, one output and all between. Paths are absolute or relative to the working folder.

    `input` is a file, a glob, a folder, a URL, or `-` for standard input; `output` may be `-`, for standard output;
    `keep` names input columns that the output has, too.
    """

    input: str
    output: str | None = None
    keep: list[str] | Literal["all"] = []
    gateway: Gateway = Gateway()
    request: RequestTable = RequestTable()
    limits: LimitsTable = LimitsTable()
    retry: Retry = Retry()
    run: RunTable = RunTable()
    prices: PricesTable = PricesTable()
    sweep: dict[str, Any] = {}  # see job/sweep
    places: dict[str, str] = {}  # where its templates stand in the job file, by their texts

    @property
    def output_path(self) -> Path:
        """Where the answers go: as said, or beside a file or folder; where they go to standard output, the name that
        the run folder and the summary are called after. UsageError where nobody can say what is beside."""
        if self.output is not None and not self.output_is_stdout:
            return Path(self.output)
        path = Path(self.input.removesuffix(".gz").removesuffix(".zst"))
        nowhere = self.input == STANDARD_INPUT or is_url(self.input) or path.name in ("", "..")
        if nowhere or (not Path(self.input).exists() and not _GLOB_SIGNS.isdisjoint(self.input)):
            advice = "say where the run is kept, with --run-dir" if self.output else "name the output with --output"
            raise UsageError(f"Nothing is beside the input {self.input}: {advice}.")
        return path.with_suffix(".results.jsonl")

    @property
    def output_is_stdout(self) -> bool:
        """Whether the answers go to standard output."""
        return self.output == STANDARD_OUTPUT

    @property
    def output_is_folder(self) -> bool:
        """Whether the answers go to a folder, in parts: one that ends in a slash, or is there."""
        return (
            self.output is not None
            and not self.output_is_stdout
            and (self.output.endswith("/") or self.output_path.is_dir())
        )


def is_url(place: str) -> bool:
    """Whether an input is elsewhere: s3://bucket/key."""
    return "://" in place
