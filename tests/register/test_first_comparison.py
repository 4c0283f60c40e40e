"""The first comparison shows a person whom the model has never seen, and the truth beside the estimate."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from comface.datasets.rehearsal.held_out import MOST_AGING, SERIOUS, SMILING, HeldOut, held_out_pairs
from comface.execution.pages import FIRST, filled, slot
from comface.faces import identity
from comface.faces.detection import find_face
from comface.register.config import RegisterConfig
from comface.register.decision import PROMOTE, GateDecision
from comface.register.step import register
from comface.run.first_comparison import NEEDS, WHO, first_comparison
from comface.run.outcome import Outcome
from comface.weights.fetched import FACE_RECOGNITION, available

needs_networks = pytest.mark.skipif(
    not {*NEEDS, FACE_RECOGNITION} <= set(available()), reason="needs what `comface fetch` takes from packages"
)
pytestmark = needs_networks


@pytest.fixture(scope="module")
def pairs() -> list[HeldOut]:
    return list(itertools.islice(held_out_pairs(4), 2))


def test_the_pairs_are_of_different_people_and_in_each_a_person_starts_to_smile(pairs: list[HeldOut]) -> None:
    for pair in pairs:
        assert pair.truth["smile"] >= 0.75 * (SMILING - SERIOUS), "the mean over the mirror image is a little smaller"
        assert abs(pair.truth["apparent-age"]) <= MOST_AGING
    assert len({pair.before_SS3.tobytes() for pair in pairs}) == len(pairs)


def test_a_person_is_nearer_to_itself_than_to_the_others(pairs: list[HeldOut]) -> None:
    faces = [[find_face(photo) for photo in (pair.before_SS3, pair.after_SS3)] for pair in pairs]
    seen = [
        [identity.descriptor(photo, face) for photo, face in zip((p.before_SS3, p.after_SS3), found, strict=True)]
        for p, found in zip(pairs, faces, strict=True)
    ]
    own = [np.linalg.norm(before - after) for before, after in seen]
    others = [np.linalg.norm(one[0] - other[1]) for one, other in itertools.permutations(seen, 2)]
    assert max(own) < min(others)


def test_the_truth_stands_beside_the_estimate_in_picture_terminal_and_report(
    make_chain: Callable, with_tasks: Callable, tmp_path: Path
) -> None:
    chain = make_chain()
    rehearsed = with_tasks(chain, ("apparent-age", {"rehearsal": True}))
    now = datetime(2026, 3, 1, tzinfo=UTC)
    heads = [each for each in rehearsed.transfers if each.facts["method"] == "comface"]
    config = RegisterConfig(must_beat=None)
    model = register(chain.store, config, rehearsed.evaluation, rehearsed.backbone, heads, now, tmp_path).model
    assert model is not None
    found = first_comparison(model, "comface@v1", tmp_path / "run", seed=4)
    assert found is not None
    assert stat.S_IMODE(found.picture.stat().st_mode) == 0o600
    assert set(found.truth) == {"apparent-age"}, "smile was fitted on photos here, whose truth nobody knows"
    (line,) = found.lines()
    assert line.startswith("Apparent age: ")
    assert "true change" in line
    outcome = Outcome(tmp_path, "A verdict.", GateDecision(PROMOTE, (), ()), "comface@v1", found, 60.0, True)
    assert any(line in said for said in outcome.lines())
    assert any(WHO in said for said in outcome.lines())
    page = filled(f"<p>report</p>{slot(FIRST, '')}", FIRST, found.section())
    assert "data:image/png;base64," in page
    assert line in page


def test_a_model_without_a_rehearsal_of_the_cohort_has_no_first_comparison(registered, tmp_path: Path) -> None:
    assert first_comparison(registered[0].model, "comface@v1", tmp_path) is None
