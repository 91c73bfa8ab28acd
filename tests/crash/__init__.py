"""Seeded `kill -9` in every phase of a run, judged by the simulator's ledger. `make crash` prints the tally."""
