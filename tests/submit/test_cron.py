"""Cron expressions as KFP reads them, against looking at every minute; what would mean something else is refused."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from kfp_api_server import ticks_of

from comface.errors import ConfigurationError
from comface.submit.cron import checked_cron, parse_cron

NOW = datetime(2026, 11, 25, 13, 37, 11, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize("cron", ["0 0 2 * * 1", "0 30 4 1 * *", "0 15 * * * *", "0 5 23 * 12 0"])
def test_ticks_are_those_that_looking_at_every_minute_finds(cron: str) -> None:
    until = datetime(2026, 12, 8, tzinfo=UTC)
    expected = ticks_of(cron, NOW, until)
    ticks = list(itertools.takewhile(lambda tick: tick <= until, parse_cron(cron).ticks(NOW)))
    assert expected
    assert ticks == expected


@pytest.mark.parametrize(
    ("cron", "next_tick"),
    [
        ("0 0 2 * * MON", "2026-11-30 02:00:00"),
        ("30 0 2 ? * 6", "2026-11-28 02:00:30"),
        ("0 */20 8-10 * * 1-5", "2026-11-26 08:00:00"),
        ("0 40/10 13 * * *", "2026-11-25 13:40:00"),
        ("0 0 2 1,15 JAN *", "2027-01-01 02:00:00"),
        ("0 0 2 1 * 1", "2026-11-30 02:00:00"),  # either day is enough where both are given
        ("0 0 0 29 2 *", "2028-02-29 00:00:00"),
    ],
)
def test_names_lists_ranges_and_steps(cron: str, next_tick: str) -> None:
    assert f"{parse_cron(cron).next(NOW):%Y-%m-%d %H:%M:%S}" == next_tick


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("0 2 * * 1", r"has five fields, KFP's have six, seconds first; write '0 0 2 \* \* 1'"),
        ("@weekly", "does not have six fields"),
        ("0 0 24 * * *", r"The hour '24' of the cron expression '0 0 24 \* \* \*' is not within 0-23"),
        ("0 0 2 * * 7", r"The weekday '7' .* is not within 0-6 \(Sunday is 0\)"),
        ("0 0 2 0 * *", "The day '0'"),
        ("0 0 2 * FOO *", "The month 'FOO'"),
        ("0 0/0 2 * * *", "The minute '0/0'"),
        ("0 30-10 2 * * *", "The minute '30-10'"),
        ("0 0 2 30 2 *", "never comes"),
        ("* 0 2 * * *", "more often than every 5 minutes"),
        ("0 */4 * * * *", "more often than every 5 minutes"),
        ("0 0,59 * * * *", "more often than every 5 minutes"),
        ("0 0 2 L * *", "The day 'L'"),
    ],
)
def test_what_kfp_would_refuse_or_understand_otherwise_is_one_sentence(cron: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as raised:
        checked_cron(cron, NOW)
    assert str(raised.value).endswith(".")


def test_a_training_every_five_minutes_is_allowed() -> None:
    assert checked_cron("0 */5 * * * *", NOW).minutes == tuple(range(0, 60, 5))


def test_at_any_hour_keeps_the_minutes_alone() -> None:
    cron = parse_cron("0 7 2 1 1 0").at_any_hour()
    assert cron.next(NOW) == datetime(2026, 11, 25, 14, 7, tzinfo=UTC)
