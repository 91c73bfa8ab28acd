"""What a run would do, before it does: what is there, what it takes, how its lanes will fare."""
