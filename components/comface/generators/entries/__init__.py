"""One file per generator, which says all that anyone asks about it (registry.py)."""
