"""The command in the report's header gives the same configuration again."""

from __future__ import annotations

import itertools
import shlex

import pytest

from comface.plan.command import command_of
from comface.plan.configuration import resolve

OVERRIDES = [
    "pretrain.epochs=4",
    "transfer.tasks=[age, au12]",
    "register.must_beat=null",
    "data.mine={layout: fgnet, uri: 's3://bucket/with space'}",
]


@pytest.mark.parametrize("profile", ["laptop", "workstation", "paper"])
def test_the_command_gives_the_same_configuration_again(profile: str) -> None:
    config = resolve(profile, [*OVERRIDES, "store=/elsewhere"])
    words = shlex.split(command_of(config))
    assert words[:4] == ["comface", "run", "--profile", profile]
    overrides = [word for before, word in itertools.pairwise(words) if before == "--set"]
    again = resolve(profile, [*overrides, "store=/elsewhere"])
    assert again == config
    assert not any(word.startswith("store=") for word in overrides)


def test_the_command_of_a_profile_is_short() -> None:
    assert command_of(resolve("laptop")) == "comface run --profile laptop"
