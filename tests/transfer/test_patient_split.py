"""The split of patients of table 5: proportion, reserved days, and what a method may see."""

from __future__ import annotations

import numpy as np
import pytest

from comface.errors import DataError
from comface.transfer.patient_split import days_of, known_photos, split_patients, without_days

NAMES = [f"p{number:02d}" for number in range(38)]


def photos(subject: str = "a", sessions: tuple[str, ...] = ("s-2", "s-10", "s-1")) -> list[dict[str, object]]:
    return [
        {"subject": subject, "session": session, "phase": phase, "labels": {"weight": 60.0 + number}}
        for number, session in enumerate(sessions)
        for phase in ("before", "after")
    ]


def test_days_follow_the_names_of_sessions_and_numbers_in_them_count_by_value() -> None:
    assert days_of(photos(), "weight").tolist() == [1, 1, 2, 2, 0, 0]
    dates = photos(sessions=("2021-12-01", "2021-03-09", "2022-01-01"))
    assert days_of(dates, "weight").tolist() == [1, 1, 0, 0, 2, 2]


def test_a_photo_without_the_label_is_of_no_day() -> None:
    rows = photos()
    rows[4]["labels"] = rows[5]["labels"] = {}
    assert days_of(rows, "weight").tolist() == [0, 0, 1, 1, -1, -1]


@pytest.mark.parametrize(("patients", "tested"), [(39, 15), (38, 15), (13, 5), (6, 2)])
def test_the_proportion_of_the_paper_is_kept_with_another_number_of_patients(patients: int, tested: int) -> None:
    everyone = [f"p{number:02d}" for number in range(patients)]
    fold = split_patients(everyone, everyone, (24, 15), 0.1, 0)
    assert len(fold.test) == tested
    assert sorted(fold.train + fold.validation + fold.test) == everyone
    assert fold == split_patients(everyone[::-1], everyone, (24, 15), 0.1, 0)
    assert fold != split_patients(everyone, everyone, (24, 15), 0.1, 1)


def test_only_patients_with_days_after_the_reserved_ones_are_tested(caplog: pytest.LogCaptureFixture) -> None:
    fold = split_patients(NAMES, NAMES[:20], (24, 15), 0.1, 0)
    assert set(fold.test) <= set(NAMES[:20])
    assert not caplog.records
    few = split_patients(NAMES, NAMES[:9], (24, 15), 0.1, 0)
    assert few.test == tuple(NAMES[:9])
    assert "only 9 have enough sessions" in caplog.text
    with pytest.raises(DataError, match="reserved for adaptation"):
        split_patients(NAMES, [], (24, 15), 0.1, 0)


def test_labels_of_tested_days_are_neither_paired_with_reserved_days_nor_known_to_the_method() -> None:
    rows = photos("a") + photos("b")
    day_N = days_of(rows, "weight")
    left = without_days(rows, day_N, ["b"], 2)
    assert [row["labels"] != {} for row in left] == [True] * 6 + [False, False, True, True, False, False]
    known = known_photos(rows, "weight", day_N, {"a": 0, "b": 1}, ["b"], 2)
    assert known["row"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11]
    assert set(known["day"][known["subject"] == 1]) == {0, 1}
    assert known["label"].tolist() == [60, 60, 61, 61, 62, 62, 60, 60, 62, 62]
    assert np.array_equal(known["phase"], [1, 0] * 5)
