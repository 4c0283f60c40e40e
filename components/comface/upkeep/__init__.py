"""Keeping a store: what is in it, what refers to what, cleaning up, forgetting a person, rules of a bucket."""
