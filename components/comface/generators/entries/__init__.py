"""One file per generator, or family of them, which says all that anyone asks about it (registry.py)."""
