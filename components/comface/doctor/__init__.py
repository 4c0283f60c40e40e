"""Doctor: what is missing before a run, said in seconds, with what to do about it."""
