"""What to do: the job as a record, and how it is read from TOML and options."""
