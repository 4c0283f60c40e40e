"""The aliases of a model, among them the champion, and their histories.

In: the records of one alias, oldest first. Out: which champion came before. No record is ever changed or deleted, so
the history says who was champion when, and why.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from comface.config.names import quoted
from comface.errors import ConfigurationError

CHAMPION = "champion"
ALIAS = "[a-z][a-z0-9-]{0,62}"
RESERVED = ("latest", "newest")
"""Other registries give `latest` a meaning of its own; here, NAME alone is the newest version."""
LONGEST_WHY = 500


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    made_by: str = Field(
        default_factory=lambda: uuid.uuid4().hex, description="random id that distinguishes concurrent writers"
    )


class Promotion(Record):
    """One change of the champion, or of another alias."""

    version: int | None = Field(ge=1, description="None: the alias was removed")
    before: int | None
    promoted_at: datetime
    why: str = Field(default="", max_length=LONGEST_WHY)
    rolled_back: bool = Field(default=False, description="whether a rollback returned to an earlier champion")


def is_alias(word: str) -> bool:
    return bool(re.fullmatch(ALIAS, word)) and not re.fullmatch(r"v\d+", word) and word not in RESERVED


def alias_folder(alias: str) -> str:
    """The folder of an alias's records, relative to that of the model. Raises ConfigurationError for a wrong name."""
    if not is_alias(alias):
        raise ConfigurationError(
            f"{quoted(alias)} is not a valid alias; use at most 63 lower-case letters, digits and hyphens, not 'v' and "
            f"a number, and none of {', '.join(RESERVED)}."
        )
    return "promotions" if alias == CHAMPION else f"aliases/{alias}"


def check_why(why: str) -> None:
    if len(why) > LONGEST_WHY or not why.isprintable():
        raise ConfigurationError(
            f"The reason (--why) has line breaks or more than {LONGEST_WHY} characters; shorten it."
        )


def previous_champion(history: Sequence[Promotion]) -> int | None:
    """The champion to which a rollback returns. Rollbacks do not count as promotions: a second one returns to the
    champion before the previous one, and champions that a rollback left do not come back."""
    champions: list[int | None] = []
    for each in history:
        if each.rolled_back:
            champions.pop()
            while champions and champions[-1] != each.version:
                champions.pop()
        else:
            champions.append(each.version)
    return next((version for version in reversed(champions[:-1]) if version is not None), None)
