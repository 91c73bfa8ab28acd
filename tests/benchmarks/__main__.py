"""`python -m tests.benchmarks [NAME ...]`: run the benchmarks one after another, never two at once."""

import sys

from tests.benchmarks import limiter, main_job, sockets, speed

BENCHMARKS = {"main_job": main_job.main, "speed": speed.main, "limiter": limiter.main, "sockets": sockets.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
