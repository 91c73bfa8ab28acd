"""batchrunner: a file of prompts becomes a file of answers through a rate-limited gateway."""

__version__ = "0.1.0"
