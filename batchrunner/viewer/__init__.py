"""A run in the browser, on this machine alone: its page while it goes on, and its rows."""
