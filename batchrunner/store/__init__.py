"""The run folder: the run store, the only truth of a run; the in-flight marks; the lock."""
