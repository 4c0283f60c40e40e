"""Cron expressions as KFP reads them, against looking at every minute; what would mean something else is refused."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
        ("0 0 2 * * fri/2", "2026-11-27 02:00:00"),
        ("0 0 2 * * sat/1", "2026-11-28 02:00:00"),
        ("0 20-20/10 14 * * *", "2026-11-25 14:20:00"),
        ("0 0 2 1,* * 1", "2026-11-30 02:00:00"),  # a star in a list is a star
    ],
)
def test_names_lists_ranges_and_steps(cron: str, next_tick: str) -> None:
    assert f"{parse_cron(cron).next(NOW):%Y-%m-%d %H:%M:%S}" == next_tick


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("0 2 * * 1", r"has five fields, but KFP needs six, seconds first; write '0 0 2 \* \* 1'"),
        ("@weekly", "does not have six fields"),
        ("0 0 24 * * *", r"The hour '24' of the cron expression '0 0 24 \* \* \*' is not within 0-23"),
        ("0 0 2 * * 7", r"The weekday '7' .* is not within 0-6 \(Sunday is 0\)"),
        ("0 0 2 0 * *", "The day '0'"),
        ("0 0 2 * FOO *", "The month 'FOO'"),
        ("0 0/0 2 * * *", "The minute '0/0'"),
        ("0 30-10 2 * * *", "The minute '30-10'"),
        ("0 0 2 30 2 *", "never ticks"),
        ("* 0 2 * * *", "more often than every 5 minutes"),
        ("0 */4 * * * *", "more often than every 5 minutes"),
        ("0 0,59 * * * *", "more often than every 5 minutes"),
        ("0 0 2 L * *", "The day 'L'"),
        ("0 0 2 LW * *", "The day 'LW'"),
        ("0 0 2 * * 1#2", "The weekday '1#2'"),
        ("0 0 2 * * 5L", "The weekday '5L'"),
        ("0 0 2 * * 1-7", r"The weekday '1-7' .* is not within 0-6 \(Sunday is 0\)"),
        ("0 0 JAN * * *", "The hour 'JAN'"),
        ("0 */0 2 * * *", r"The minute '\*/0'"),
        ("0 0 2, * * *", "The hour ''"),
        ("0 0 " + "9" * 5000 + " * * *", "The hour '9999"),
        ("0 0 2 31 4,6,9,11 *", "never ticks"),
    ],
)
def test_what_kfp_would_refuse_or_understand_otherwise_is_one_sentence(cron: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as raised:
        checked_cron(cron, NOW)
    assert str(raised.value).endswith(".")


def test_a_training_every_five_minutes_is_allowed() -> None:
    ticks = checked_cron("0 */5 * * * *", NOW).ticks(NOW)
    assert [tick.minute for tick in itertools.islice(ticks, 12)] == [*range(40, 60, 5), *range(0, 40, 5)]


def test_at_any_hour_keeps_the_minutes_alone() -> None:
    cron = parse_cron("0 7 2 1 1 0").at_any_hour()
    assert cron.next(NOW) == datetime(2026, 11, 25, 14, 7, tzinfo=UTC)


def kfp_takes(part: str, least: int, most: int, names: str) -> tuple[set[int], bool]:
    """What one part of a field covers, and whether it is a star: getRange of robfig/cron v1, which KFP runs."""
    number = lambda word: names.split().index(word) + least if word in names.split() else int(word)  # noqa: E731
    body, _, step = part.partition("/")
    low, _, high = body.partition("-")
    if body in ("*", "?"):
        return set(range(least, most + 1, int(step or 1))), True
    end = number(high) if high else most if step else number(low)
    return set(range(number(low), end + 1, int(step or 1))), False


def parts(least: int, most: int, names: str = "") -> st.SearchStrategy[str]:
    words = st.integers(least, most).map(str) if not names else st.integers(least, most).flatmap(
        lambda n: st.sampled_from([str(n), names.split()[n - least]])
    )  # fmt: skip
    step = st.sampled_from(["", "", "/1", "/2", "/3", "/7"])
    index = lambda word: names.split().index(word) if word in names.split() else int(word) - least  # noqa: E731
    ranges = st.tuples(words, words).map(lambda pair: "-".join(sorted(pair, key=index)))
    part = st.tuples(st.one_of(st.sampled_from("*?"), words, ranges), step).map("".join)
    return st.lists(part, min_size=1, max_size=3).map(",".join)


MONTHS, WEEKDAYS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", "SUN MON TUE WED THU FRI SAT"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    minute=parts(0, 59), hour=parts(0, 23), day=parts(1, 31), month=parts(1, 12, MONTHS), weekday=parts(0, 6, WEEKDAYS)
)
def test_every_expression_ticks_when_kfp_does(minute: str, hour: str, day: str, month: str, weekday: str) -> None:
    bounds = (
        (minute, 0, 59, ""),
        (hour, 0, 23, ""),
        (day, 1, 31, ""),
        (month, 1, 12, MONTHS),
        (weekday, 0, 6, WEEKDAYS),
    )
    read = [[kfp_takes(part, *rest) for part in word.split(",")] for word, *rest in bounds]
    minutes, hours, days, months, weekdays = (set().union(*(values for values, _ in each)) for each in read)
    star = any(is_star for each in (read[2], read[4]) for _, is_star in each)
    expected, start = [], datetime(2026, 11, 25, tzinfo=UTC)
    for date in (start + timedelta(days=n) for n in range(400)):
        of_month, of_week = date.day in days, (date.weekday() + 1) % 7 in weekdays
        if date.month in months and (of_month and of_week if star else of_month or of_week):
            expected += [date + timedelta(hours=h, minutes=m) for h in sorted(hours) for m in sorted(minutes)]
        if len(expected) > 20:
            break
    found = itertools.islice(parse_cron(f"0 {minute} {hour} {day} {month} {weekday}").ticks(start), 20)
    until = start + timedelta(days=400)
    assert [tick for tick in found if tick < until] == [tick for tick in expected if tick > start][:20]
