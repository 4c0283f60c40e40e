"""The command that gives a run again, for the header of its report.

In: a RunConfig, wherever its values came from. Out: `comface run` with the profile and every field that
differs from it.
"""

from __future__ import annotations

import shlex
from typing import Any

from comface.config.reading import leaves, override
from comface.plan.configuration import RunConfig, resolve

PLACES = {"store", "check_gpus", "profile"}
"""Where a run keeps its artifacts decides nothing; the profile is said by itself."""


def command_of(config: RunConfig) -> str:
    words = ["comface", "run", "--profile", config.profile]
    for line in differences(config):
        words += ["--set", line]
    return shlex.join(words)


def differences(config: RunConfig) -> list[str]:
    """`field=value` for every field whose value is not that of the profile."""
    usual = dict(leaves(_values(resolve(config.profile))))
    found = leaves(_values(config))
    return [override(field, value) for field, value in found if field not in PLACES and usual.get(field) != value]


def _values(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True)
