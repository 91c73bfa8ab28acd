"""Room for connections: each is an open file, of which a process may have a limited number."""

import resource

from batchrunner.errors import UsageError
from batchrunner.job.schema import LimitsTable

_OTHERS = 100  # files that are no connections
_MOST = 2**17


def allow_many_files() -> int:
    """Raise the soft limit of open files as far as it goes; how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted) - _OTHERS if soft != resource.RLIM_INFINITY else wanted


def check_open_files(limits: LimitsTable) -> None:
    """UsageError where more requests are to be in flight than there may be connections."""
    room = allow_many_files()
    asked = max((n for n in (limits.concurrency, limits.max_concurrency) if isinstance(n, int)), default=0)
    if asked > room:
        raise UsageError(
            f"{asked} requests in flight need as many open files, and this system allows {room + _OTHERS}: ask for "
            "less with --concurrency, or raise it (ulimit -Hn, LimitNOFILE= of a systemd unit)."
        )
