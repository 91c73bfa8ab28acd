"""The run folder beside its store: what a run leaves there, and how others read it while it goes on or has ended."""
