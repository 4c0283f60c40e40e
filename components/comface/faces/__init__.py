"""Faces in photos: reading, detection, alignment, scoring and comparison."""

REVISION = 1
"""Raise this number when detection, alignment, preprocessing, scores or descriptors of the same photo
change."""
