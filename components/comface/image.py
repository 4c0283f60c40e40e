"""The container image that every component runs in. Its name holds "python", as KFP's local runner wants it."""

IMAGE = "comface-python:0.1.0"
