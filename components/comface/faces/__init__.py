"""Faces in photos: read, found, aligned, scored, compared."""

REVISION = 1
"""Raised when a face is found, aligned, scored or described otherwise in the same photo."""
