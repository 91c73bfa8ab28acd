"""The simulated gateway: an OpenAI-compatible server with limits, faults and a ledger of what it was asked.

script (what to answer, which faults) · window, meter (limits) · ledger (what happened) · access (who may ask)
· chat, dialect (JSON, headers) · desk (decides about a request) · server (sockets).
It imports nothing of the rest of batchrunner: it must be able to convict the client.
"""
