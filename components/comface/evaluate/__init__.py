"""Evaluate (sections 4.3 and 4.4): computes metrics from predicted changes and writes the paper's tables and a
report."""
