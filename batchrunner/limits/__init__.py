"""The heart: how fast, and when not at all.

Pure arithmetic in bucket, estimate, hints, told, spans and lane; shells around it.
"""
