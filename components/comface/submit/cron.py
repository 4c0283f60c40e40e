"""Cron expressions as KFP reads them (robfig/cron v1): six fields, seconds first, in UTC.

In: text. Out: the moments at which it ticks. KFP takes five fields too, but as second to month: '0 2 * * 1', Mondays at
two to everybody else, would start a training every hour. So exactly six are taken here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from comface.errors import ConfigurationError

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("weekday", 0, 6, WEEKDAYS),
)
LEAST_GAP_S = 300
HORIZON_DAYS = 366 * 8
"""29 February comes every eight years at the rarest (1896, 1904)."""


@dataclass(frozen=True)
class Cron:
    text: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    """Sunday is 0."""
    both_days: bool
    """Day of month and of week must both fit (where one of them is a star); else one is enough."""

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """Moments later than `after`, as far as the horizon."""
        day = after.replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(HORIZON_DAYS):
            if self._fits(day):
                for tick in self._within(day):
                    if tick > after:
                        yield tick
            day += timedelta(days=1)

    def _within(self, day: datetime) -> Iterator[datetime]:
        for hour in self.hours:
            for minute in self.minutes:
                for second in self.seconds:
                    yield day.replace(hour=hour, minute=minute, second=second)

    def _fits(self, day: datetime) -> bool:
        of_month, of_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        fits = (of_month and of_week) if self.both_days else (of_month or of_week)
        return day.month in self.months and fits

    def next(self, after: datetime) -> datetime | None:
        return next(self.ticks(after), None)

    def at_any_hour(self) -> Cron:
        """The same minutes of every hour of every day: what this cron may be in whatever time zone KFP is set to."""
        return replace(
            self, hours=tuple(range(24)), days=tuple(range(1, 32)), months=tuple(range(1, 13)), both_days=False
        )


def parse_cron(text: str) -> Cron:
    """Raises ConfigurationError, one sentence, for what KFP would refuse or mean otherwise."""
    words = text.split()
    if len(words) == 5:
        raise ConfigurationError(
            f"The cron expression '{text}' has five fields, KFP's have six, seconds first; write '0 {text}'."
        )
    if len(words) != 6:
        raise ConfigurationError(
            f"The cron expression '{text}' does not have six fields (second minute hour day month weekday); "
            "Mondays at two are '0 0 2 * * 1'."
        )
    second, minute, hour, day, month, weekday = (
        _field(text, word, *field) for word, field in zip(words, FIELDS, strict=True)
    )
    star = any(word.startswith(("*", "?")) for word in (words[3], words[5]))
    return Cron(text, second, minute, hour, day, month, weekday, both_days=star)


def checked_cron(text: str, now: datetime) -> Cron:
    """A cron whose ticks leave room for a training, and that ticks at all."""
    cron = parse_cron(text)
    ticks = cron.ticks(now)
    last = next(ticks, None)
    if last is None:
        raise ConfigurationError(f"The cron expression '{text}' never comes; correct its day or month.")
    for _, tick in zip(range(24 * 60), ticks, strict=False):  # every gap within a day is among them
        if (tick - last).total_seconds() < LEAST_GAP_S:
            raise ConfigurationError(
                f"The cron expression '{text}' ticks more often than every {LEAST_GAP_S // 60} minutes; "
                "leave a training more room."
            )
        last = tick
    return cron


def _field(text: str, word: str, name: str, least: int, most: int, names: Sequence[str]) -> tuple[int, ...]:
    found: set[int] = set()
    for part in word.split(","):
        try:
            found |= _range(part, least, most, names)
        except ValueError:
            hint = " (Sunday is 0)" if name == "weekday" and "7" in part else ""
            raise ConfigurationError(
                f"The {name} '{part}' of the cron expression '{text}' is not within {least}-{most}{hint}; correct it."
            ) from None
    return tuple(sorted(found))


def _range(part: str, least: int, most: int, names: Sequence[str]) -> set[int]:
    body, slash, step_text = part.partition("/")
    step = int(step_text) if slash else 1
    first, dash, last = body.partition("-")
    if body in ("*", "?"):
        low, high = least, most
    else:
        low = _number(first, least, names)
        high = _number(last, least, names) if dash else (most if slash else low)
    if step < 1 or not least <= low <= high <= most:
        raise ValueError(part)
    return set(range(low, high + 1, step))


def _number(text: str, least: int, names: Sequence[str]) -> int:
    if text.upper() in names:
        return names.index(text.upper()) + least
    if not text.isdigit():
        raise ValueError(text)
    return int(text)
