"""Checks the user's data sets before anything is rendered: are they readable, with the labels and people of the tasks?

In: a RunConfig. Out: one line with the result; raises all problems of a data set together.
"""

from __future__ import annotations

import logging

from comface.errors import raise_any
from comface.files.tables import assume
from comface.plan.configuration import RunConfig

logger = logging.getLogger(__name__)


def check_dataset(config: RunConfig, name: str) -> str:
    source = config.data[name]
    if not source.uri:
        return "no URI given: synthetic rehearsal data will be used"
    from comface.plan.study import examine_dataset

    found = examine_dataset(config, name)
    raise_any(found.problems)
    assert found.data is not None
    for sentence in found.data.assumed:
        assume(sentence)
    for sentence in found.warnings:
        logger.warning(sentence)
    left_out = f"; left out: {found.data.told()}" if found.data.told() else ""
    return f"{len(found.photos):,} photos of {found.people:,} people at {source.uri}{left_out}"
