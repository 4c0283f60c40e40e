from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comface.errors import DataError
from comface.transfer.folds import hold_out, subject_folds

subject_sets = st.sets(st.text("abcdefgh012", min_size=1, max_size=5), min_size=8, max_size=60)


@given(subject_sets, st.integers(2, 6), st.floats(0.05, 0.45), st.integers(0, 2**40))
def test_no_subject_is_ever_on_two_sides_and_every_subject_is_tested_once(subjects, count, fraction, seed):
    folds = subject_folds(subjects, count, fraction, seed)
    assert sorted(name for fold in folds for name in fold.test) == sorted(subjects)
    for fold in folds:
        sides = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == len(subjects)
        assert all(sides)


@given(subject_sets, st.integers(0, 2**40))
def test_folds_are_a_function_of_the_set_of_subjects_and_the_seed(subjects, seed):
    forwards, backwards = sorted(subjects), sorted(subjects, reverse=True)
    assert subject_folds(forwards, 4, 0.1, seed) == subject_folds(backwards + backwards, 4, 0.1, seed)


def test_four_folds_of_eighty_subjects_train_on_fifty_four_and_validate_on_a_tenth():
    fold = subject_folds([f"p{i}" for i in range(80)], 4, 0.1, 0)[0]
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (54, 6, 20)


def test_too_few_subjects_are_refused_with_what_to_do():
    with pytest.raises(DataError, match=r"needs 4 subjects .* has 3; add subjects"):
        subject_folds("abc", 4, 0.1, 0)
    with pytest.raises(DataError, match="needs two subjects"):
        hold_out(["a"], 0.1, 0)
