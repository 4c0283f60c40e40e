"""Cron expressions as KFP reads them (robfig/cron v1): six fields, seconds first, in UTC.

In: text. Out: the times at which it ticks, computed by the library cronsim. KFP also accepts five fields, but reads
them as second to month: '0 2 * * 1', elsewhere Mondays at two, would start a training every hour. So this module
accepts only six fields, and refuses or translates what cronsim reads differently from KFP (Sunday as 7, L, #, N/STEP,
?).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from comface.errors import ConfigurationError

FIELDS = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
NAMES = {
    "month": ("", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    "weekday": ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
}
PART = re.compile(r"(?:[*?]|([0-9]{1,4}|[A-Z]{3})(?:-([0-9]{1,4}|[A-Z]{3}))?)(?:/([0-9]{1,4}))?")
LEAST_GAP_S = 300
HORIZON = timedelta(days=366 * 8)
"""29 February occurs at least every eight years (1896, 1904)."""


@dataclass(frozen=True)
class Cron:
    text: str
    expression: str
    """`text` in a form that cronsim and KFP read in the same way."""

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """Times later than `after`, up to the horizon."""
        try:
            yield from itertools.takewhile(lambda tick: tick < after + HORIZON, CronSim(self.expression, after))
        except CronSimError:  # each field is valid, but none of the months has this day
            return

    def next(self, after: datetime) -> datetime | None:
        return next(self.ticks(after), None)

    def at_any_hour(self) -> Cron:
        """The same minutes of every hour of every day: this includes the ticks in any time zone that KFP may use."""
        second, minute, *_ = self.expression.split()
        return Cron(self.text, f"{second} {minute} * * * *")


def parse_cron(text: str) -> Cron:
    """Raises ConfigurationError for text that KFP would refuse or read differently."""
    words = text.split()
    if len(words) == 5:
        raise ConfigurationError(
            f"The cron expression '{text}' has five fields, but KFP needs six, seconds first; write '0 {text}'."
        )
    if len(words) != 6:
        raise ConfigurationError(
            f"The cron expression '{text}' does not have six fields (second minute hour day month weekday); "
            "Mondays at two are '0 0 2 * * 1'."
        )
    return Cron(text, " ".join(_field(text, word, index) for index, word in enumerate(words)))


def checked_cron(text: str, now: datetime) -> Cron:
    """A cron that ticks, with enough time between ticks for a training."""
    cron = parse_cron(text)
    ticks = list(itertools.islice(cron.ticks(now), 24 * 60))  # every gap within a day is among them
    if not ticks:
        raise ConfigurationError(f"The cron expression '{text}' never ticks; correct its day or month.")
    if any((after - before).total_seconds() < LEAST_GAP_S for before, after in itertools.pairwise(ticks)):
        raise ConfigurationError(
            f"The cron expression '{text}' ticks more often than every {LEAST_GAP_S // 60} minutes; "
            "choose a longer interval."
        )
    return cron


def _field(text: str, word: str, index: int) -> str:
    name, least, most = FIELDS[index]
    found = []
    for part in word.split(","):
        try:
            found.append(_translated(part, name, most))
            CronSim(" ".join(["*"] * index + found[-1:] + ["*"] * (5 - index)), datetime(2000, 1, 1, tzinfo=UTC))
        except (ValueError, CronSimError):
            hint = " (Sunday is 0)" if name == "weekday" and "7" in part else ""
            raise ConfigurationError(
                f"The {name} '{part}' of the cron expression '{text}' is not within {least}-{most}{hint}; correct it."
            ) from None
    stars_first = sorted(found, key=lambda part: part[0] != "*")  # KFP finds a star in any part, cronsim in the first
    return ",".join(stars_first)


def _translated(part: str, name: str, most: int) -> str:
    """Raises ValueError for a part that KFP does not know."""
    found = PART.fullmatch(part.upper())
    if found is None:
        raise ValueError(part)
    step = f"/{found[3]}" if found[3] else ""
    if found[1] is None:
        return f"*{step}"
    names = NAMES.get(name, ())
    words = (found[1], found[2] or (str(most) if step else found[1]))
    first, last = (names.index(word) if word in names else int(word) for word in words)
    if max(first, last) > most:
        raise ValueError(part)
    return str(first) if first == last else f"{first}-{last}{step}"
