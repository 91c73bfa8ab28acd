"""`python -m tests.benchmarks [NAME ...]`: run the benchmarks one after another, never two at once."""

import sys

from tests.benchmarks import lag, limiter, main_job, million, shared, sockets, speed, workers

BENCHMARKS = {
    "main_job": main_job.main,
    "speed": speed.main,
    "million": million.main,
    "lag": lag.main,
    "limiter": limiter.main,
    "sockets": sockets.main,
    "shared": shared.main,
    "workers": workers.main,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
