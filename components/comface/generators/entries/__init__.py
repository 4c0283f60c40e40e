"""One file per generator, or family of generators, with the entries for the registry (registry.py)."""
