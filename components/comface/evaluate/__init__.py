"""Evaluate (section 4.3, 4.4): predicted changes to metrics, the paper's tables, and a report."""
