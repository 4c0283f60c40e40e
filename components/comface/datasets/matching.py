"""Which folder belongs to which name in a table, if they are written differently.

In: names in a table and names of folders. Out: folder → name, one to one. Equal names (in any case) are first, then
equal dates (5.3.2024 and 2024-03-05), then names that differ in leading zeros, spaces and signs (P1 and p_01), then
names with the same only number (7 and P007). A name that two others could mean is not matched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date

from comface.files.headings import normal

NUMERIC = re.compile(r"(\d{1,4})[-./_ ](\d{1,2})[-./_ ](\d{1,4})(?:[ t]\d{1,2}:\d{2}(?::\d{2})?)?", re.ASCII)
COMPACT = re.compile(r"((?:19|20)\d{2})(\d{2})(\d{2})", re.ASCII)


def iso_date(text: str, month_first: bool = False) -> str:
    """A date in numbers as 2024-03-05; "" if the text is no date. `month_first`: how 03/05/2024 is meant."""
    text = normal(text)
    found = NUMERIC.fullmatch(text) or COMPACT.fullmatch(text)
    if not found:
        return ""
    first, middle, last = found.groups()
    year, month, day = (first, middle, last) if len(first) == 4 else (last, middle, first)
    if len(first) != 4 and month_first:
        month, day = day, month
    century = 2000 if len(year) == 2 else 0
    try:
        return date(int(year) + century, int(month), int(day)).isoformat()
    except ValueError:
        return ""


def writes_month_first(names: Iterable[str]) -> bool:
    """Whether dates of a table begin with the month: one of them is a date only so, and none only with the day
    first."""
    names = list(names)
    return any(iso_date(each, True) and not iso_date(each) for each in names) and not any(
        iso_date(each) and not iso_date(each, True) for each in names
    )


def matched(folders: Iterable[str], names: Iterable[str]) -> tuple[dict[str, str], int]:
    """(folder → name, how many of them differ in more than case). Both in normal form."""
    names, left = set(names), sorted(set(folders))
    found = {folder: folder for folder in left if folder in names}
    alike = len(found)
    month_first = writes_month_first(names)
    forms: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
        (iso_date, lambda name: iso_date(name, month_first)),
        (_without_zeros, _without_zeros),
        (_only_number, _only_number),
    )
    for of_folder, of_name in forms:
        rest = names - set(found.values())
        by_form, folders_by_form = (
            _grouped(rest, of_name),
            _grouped((each for each in left if each not in found), of_folder),
        )
        for form, (folder, *more) in folders_by_form.items():
            if not more and len(by_form.get(form, ())) == 1:
                found[folder] = by_form[form][0]
    return found, len(found) - alike


def _grouped(names: Iterable[str], form: Callable[[str], str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name in sorted(names):
        if key := form(name):
            grouped.setdefault(key, []).append(name)
    return grouped


def _without_zeros(name: str) -> str:
    """p1 of P_01. Signs between two numbers stay: 1-10 is not 11-0."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", name))


def _only_number(name: str) -> str:
    numbers = re.findall(r"\d+", name)
    return (numbers[0].lstrip("0") or "0") if len(numbers) == 1 else ""
