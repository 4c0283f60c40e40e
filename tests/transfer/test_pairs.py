from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface.errors import DataError
from comface.transfer import pairs as pairs_module
from comface.transfer.pairs import draw_pairs


def photo(subject: str, value: float | None, phase: str = "") -> dict:
    return {"subject": subject, "labels": {} if value is None else {"smile": value}, "phase": phase}


photo_lists = st.lists(
    st.builds(photo, st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 5).map(float))), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(photo_lists, st.integers(1, 30), st.sampled_from([0.0, 1.0, 2.5]), st.integers(0, 2**30))
def test_pairs_are_within_a_subject_labelled_distinct_large_enough_and_turned_both_ways(photos, count, least, seed):
    try:
        drawn = draw_pairs(photos, "smile", count, least, seed, "task")
    except DataError:
        return
    per_subject = Counter(drawn.subjects)
    for subject, x, y, change in zip(drawn.subjects, drawn.x_P, drawn.y_P, drawn.change_P, strict=True):
        assert x != y
        assert photos[x]["subject"] == photos[y]["subject"] == subject
        assert change == photos[y]["labels"]["smile"] - photos[x]["labels"]["smile"]
        assert abs(change) >= least
    assert max(per_subject.values()) <= count
    assert len({frozenset(pair) for pair in zip(drawn.x_P, drawn.y_P, strict=True)}) == len(drawn.x_P)
    if least > 0:
        for subject, number in per_subject.items():
            rising = sum(c > 0 for s, c in zip(drawn.subjects, drawn.change_P, strict=True) if s == subject)
            assert abs(2 * rising - number) <= 1


def test_pairs_of_a_subject_do_not_depend_on_who_else_takes_part():
    alone = [photo("b", float(i % 5)) for i in range(20)]
    together = [*alone, *(photo("a", float(i)) for i in range(9))]
    one = draw_pairs(alone, "smile", 15, 0, 3, "task")
    both = draw_pairs(together, "smile", 15, 0, 3, "task")
    of_b = both.of(["b"])
    assert np.array_equal(both.x_P[of_b], one.x_P)
    assert np.array_equal(both.y_P[of_b], one.y_P)


def test_photos_of_patients_are_paired_between_before_and_after_dialysis():
    photos = [photo("p", 60.0 + i, "before" if i % 2 else "after") for i in range(12)]
    drawn = draw_pairs(photos, "smile", 100, 0, 0, "edema-a")
    assert len(drawn.subjects) == 36
    assert all(photos[x]["phase"] != photos[y]["phase"] for x, y in zip(drawn.x_P, drawn.y_P, strict=True))


def test_a_patient_seen_in_one_phase_only_has_no_pairs():
    with pytest.raises(DataError, match="No subject has two photos"):
        draw_pairs([photo("p", 60.0, "before"), photo("p", 61.0, "before")], "smile", 5, 0, 0, "edema-a")


def test_a_label_that_never_changes_is_no_task_and_no_perfect_result():
    with pytest.raises(DataError, match="The label 'smile' of the task 'task' is the same on all photos of each"):
        draw_pairs([photo(subject, float(ord(subject))) for subject in "aabbcc"], "smile", 10, 0.0, 1, "task")


def test_long_videos_are_sampled_without_listing_all_pairs(monkeypatch):
    monkeypatch.setattr(pairs_module, "ALL_PAIRS_BELOW", 10)
    photos = [photo("a", float(i % 6)) for i in range(500)]
    drawn = draw_pairs(photos, "smile", 200, 1.0, 0, "au6")
    assert len(drawn.x_P) == 200
    assert len({frozenset(pair) for pair in zip(drawn.x_P, drawn.y_P, strict=True)}) == 200
    assert np.all(np.abs(drawn.change_P) >= 1)
    assert np.sum(drawn.change_P > 0) == 100
