"""Tracks: their composition, rendering, storage in blocks, and reading."""

REVISION = 1
"""Raise this number when a change here, in synthesize/ or in directions/edits.py gives other tracks for the same
generator, direction and settings."""
