"""What a run is told beside its job."""

from pathlib import Path
from typing import Literal

import msgspec

from batchrunner.folder.owning import Resume
from batchrunner.folder.retrying import Condition
from batchrunner.folder.sampling import Sample
from batchrunner.limits.redis_place import RedisPlace
from batchrunner.runner.drift import OnDrift
from batchrunner.runner.hooks import Hooks
from batchrunner.runner.stopping import MaxFailed
from batchrunner.sink import OutputFormat
from batchrunner.transport.secret import Secret

Engine = Literal["local", "ray"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`identity_url` stands for the base URL where that changes from run to run;
    `shared`: where the book of limits is, if it is not this machine's, in the state folder;
    `arguments` are remembered, for others to go on with; failed units that meet every condition of `retry` are asked
    again, none where it is None; `spool` is the input where that came from standard input, to be kept in the run
    folder; `headers` go with every try; `engine`: where tries are sent from, if of Ray, by how many `workers`, which
    read the key themselves, from `key_file` or the environment, unless the gateway is simulated (`simulate`); `hooks`
    are of the program that runs the job; `raw`: outcomes have the gateway's bodies; `output_format`: the shape of the
    output's lines; `to_stdout`: these go to standard output."""

    run_dir: Path
    state_dir: Path
    shared: RedisPlace | None = None
    limit: int | None = None
    sample: Sample | None = None
    resume: Resume = "auto"
    overwrite: bool = False
    ca_bundle: Path | None = None
    allow_insecure_http: bool = False
    max_outage_seconds: float = 900.0
    identity_url: str | None = None
    on_daily_limit: Literal["wait", "park"] = "park"
    on_drift: OnDrift = "stop"
    max_failed: MaxFailed = MaxFailed()
    grace_seconds: float = 20.0
    ignore_resume_at: bool = False
    wait_lock_seconds: float = 0.0
    arguments: tuple[str, ...] = ()
    retry: tuple[Condition, ...] | None = None
    part_rows: int | None = None
    raw: bool = False
    output_format: OutputFormat = "native"
    to_stdout: bool = False
    spool: Path | None = None
    headers: dict[str, str | Secret] = {}
    hooks: Hooks = Hooks()
    engine: Engine = "local"
    workers: int = 2
    ray_address: str | None = None
    key_file: Path | None = None
    simulate: bool = False

    @property
    def replaces(self) -> bool:
        """Whether what stands at the output's path is no obstacle: it may be overwritten, or is left alone."""
        return self.overwrite or self.to_stdout

    @property
    def keeps_raw(self) -> bool:
        """Whether outcomes have the gateway's bodies: lines of the Batch API hold them."""
        return self.raw or self.output_format == "openai-batch"
