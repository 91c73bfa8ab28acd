"""Measurements of the whole tool; `make bench` runs them. Nothing here is asserted: figures are for people."""
