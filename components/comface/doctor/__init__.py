"""Doctor: lists in seconds what is missing before a run, and what to do about it."""
