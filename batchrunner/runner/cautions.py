"""What the environment brings into a run that concerns its secrets, in words."""

import os
from collections.abc import Iterator
from pathlib import Path

from batchrunner.job.schema import Job
from batchrunner.transport.dialing import words_of_proxy
from batchrunner.transport.secret import may_others_read


def cautions(job: Job, key_file: Path | None, *, simulate: bool) -> Iterator[str]:
    """A key file that others may read, a proxy, a file into which what TLS hides is written."""
    if simulate:
        return
    if key_file is not None and may_others_read(key_file):
        yield f"others may read the key file {key_file}; take that away with: chmod go-r {key_file}"
    if (words := words_of_proxy(job.gateway.base_url)) is not None:
        yield words
    if os.environ.get("SSLKEYLOGFILE"):
        yield "SSLKEYLOGFILE is set: whoever reads that file can read what TLS hides, the key included"
