"""Register: a decision is always recorded, a version only where the gate passed, and a retry finds what is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.sealed import sealed, unsealed
from comface.artifacts.verify import verify
from comface.errors import DataError, GateRefused
from comface.models.listing import UNSEEN, list_models, model_text, models_text, promote_model, show_model
from comface.models.registry import Registry
from comface.models.verification import starting_points
from comface.register.config import RegisterConfig, Threshold
from comface.register.contents import metrics_of, over_seeds, transfers_of
from comface.register.decision import KEEP, PROMOTE
from comface.register.step import gate, register
from comface.store import Store, open_store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    row = {"file": "dcgan.safetensors", "sha256": "ab" * 32, "licence": "MIT | research", "trained_on": "DigiFace-1M"}
    (folder / "dcgan.safetensors.json").write_text(json.dumps(row))
    for name in ("broken.json", "shape_predictor_5_face_landmarks.dat.json"):
        (folder / name).write_text("{")
    unused = {"file": "efficientnet_lite0.safetensors", "sha256": "cd" * 32, "licence": "Apache-2.0"}
    (folder / "efficientnet_lite0.safetensors.json").write_text(json.dumps(unused))
    return folder


def walk(store: Store, reference: str | None) -> list[Artifact]:
    return list(verify(*(start.pinned for start in starting_points(store, reference)[0])))


def run(chain, weights: Path, config: RegisterConfig | None = None, now: datetime = NOW):
    return register(
        chain.store, config or RegisterConfig(), chain.evaluation, chain.backbone, chain.transfers, now, weights
    )


def test_a_model_that_passes_becomes_the_next_version_with_all_that_using_it_needs(
    make_chain: Callable, weights: Path
) -> None:
    chain = make_chain()
    result = run(chain, weights)
    assert result.decision.outcome == PROMOTE
    assert result.version.reference == "comface@v1"
    result.raise_if_refused()
    model = result.model
    assert sorted(model.manifest.objects) == [
        "card.md", "config.json", "features.safetensors", "heads.json", "heads/age.safetensors",
        "heads/smile.safetensors", "model.safetensors", "preprocessing.json",
    ]  # fmt: skip
    assert model.read("model.safetensors") == chain.backbone.read("model.safetensors")
    heads = model.read_json("heads.json")
    assert heads["age"]["unit"] == "years"
    assert heads["age"]["rehearsal"] is True
    assert heads["smile"]["rehearsal"] is False
    assert heads["smile"]["mode"] == "linear"
    interval = heads["smile"]["interval"]
    assert 1.0 < interval["mean_half_width"] < 2.0, "residuals of SD .89: their 90 % quantile is 1.47"
    assert interval["measured_coverage"]["low"] < 0.92 < interval["measured_coverage"]["high"] + 0.02
    assert model.read_json("preprocessing.json")["aligned_px"] == 96


def test_registering_twice_gives_the_same_version_and_leaves_one(make_chain: Callable, weights: Path) -> None:
    chain = make_chain()
    first, second = run(chain, weights), run(chain, weights, now=NOW + timedelta(hours=1))
    assert first.version == second.version
    assert second.decision.reasons == ("The challenger passes 4 checks; it is the champion comface@v1 itself.",)
    assert len(Registry(chain.store, "comface").history()) == 1
    assert len(Registry(chain.store, "comface").versions()) == 1


def test_other_thresholds_do_not_make_another_model_of_the_same_content(make_chain: Callable, weights: Path) -> None:
    chain = make_chain()
    strict = RegisterConfig(thresholds=(Threshold(task="smile", min_corr=0.5),))
    assert run(chain, weights).version == run(chain, weights, strict).version


def test_another_report_of_the_same_results_does_not_make_another_model(make_chain: Callable, weights: Path) -> None:
    chain = make_chain()
    inputs = {f"result-{i}": artifact for i, artifact in enumerate(chain.transfers)}
    report = Draft(chain.store, "evaluation", {"context": "another run"}, inputs, {"test": 1}).publish({})
    first, second = run(chain, weights), run(replace(chain, evaluation=report), weights)
    assert first.recorded.uri != second.recorded.uri
    assert first.version == second.version


def test_a_refusal_is_recorded_and_registers_nothing(make_chain: Callable, weights: Path) -> None:
    chain = make_chain(smile=0.05)
    result = run(chain, weights)
    assert result.version is None
    assert result.model is None
    assert result.recorded.facts["outcome"] == KEEP
    assert result.recorded.read_json("decision.json") == json.loads(json.dumps(result.decision.record()))
    assert "Keep: the challenger is rejected" in result.recorded.read("decision.md").decode()
    assert Registry(chain.store, "comface").versions() == []
    with pytest.raises(GateRefused, match=r"The gate rejected the model: the correlation of smile \(linear\)") as error:
        result.raise_if_refused()
    assert error.value.exit_code == 66
    again = run(chain, weights)
    assert again.decision == result.decision


def test_a_transfer_that_claims_another_protocol_is_no_pass(make_chain: Callable, weights: Path) -> None:
    chain = make_chain(smile=-0.6)
    refused = run(chain, weights)
    assert refused.decision.outcome == KEEP
    ours = next(a for a in chain.heads if a.facts["task"] == "smile")
    manifest = unsealed(ours.store.read("manifest.json"))
    manifest["facts"]["protocol_sha256"] = "f" * 64
    ours.store.write("manifest.json", sealed(manifest))
    forged = open_artifact(ours.uri)
    others = [a for a in chain.transfers if a.uri != ours.uri]
    inputs = {f"result-{i}": artifact for i, artifact in enumerate([forged, *others])}
    evaluation = Draft(chain.store, "evaluation", {}, inputs, {"test": 1}).publish({})
    with pytest.raises(DataError, match="names another protocol than the one that it was made from; run that transfer"):
        gate(chain.store, RegisterConfig(), evaluation)


def test_fine_tuned_networks_alone_make_a_model(make_chain: Callable, weights: Path) -> None:
    chain = make_chain(finetuned={"smile": 0.7, "age": 0.6})
    finetuned = [artifact for artifact in chain.transfers if artifact.facts["mode"] == "finetune"]
    inputs = {f"result-{i}": artifact for i, artifact in enumerate(finetuned)}
    evaluation = Draft(chain.store, "evaluation", {}, inputs, {"test": 1}).publish({})
    result = run(replace(chain, evaluation=evaluation, transfers=finetuned), weights)
    assert result.version is not None
    assert result.version.reference == "comface@v1"
    assert {"backbones/age.safetensors", "backbones/smile.safetensors"} <= set(result.model.manifest.objects)
    assert {entry["mode"] for entry in result.model.read_json("heads.json").values()} == {"finetune"}


def test_of_two_modes_the_one_that_is_clearly_better_on_held_out_people_is_used(
    make_chain: Callable, weights: Path
) -> None:
    result = run(make_chain(smile=0.6, age=0.5, finetuned={"smile": 0.61, "age": 0.6}), weights)
    heads = result.model.read_json("heads.json")
    assert {task: entry["mode"] for task, entry in heads.items()} == {"smile": "linear", "age": "finetune"}
    assert heads["age"]["corr"] == pytest.approx(0.6)
    assert "backbones/age.safetensors" in result.model.manifest.objects
    assert "backbones/smile.safetensors" not in result.model.manifest.objects
    card = result.model.read("card.md").decode()
    rows = [line.split(" | ")[1:3] for line in card.splitlines() if line.startswith("| age |")]
    assert rows == [["finetune", "yes"], ["linear", ""]]


def test_a_head_of_another_backbone_is_refused(make_chain: Callable, weights: Path) -> None:
    chain, other = make_chain(), make_chain(seed=1)
    with pytest.raises(DataError, match=r"The head of 'smile' .* belongs to another backbone"):
        register(chain.store, RegisterConfig(), chain.evaluation, other.backbone, chain.heads, NOW, weights)


def test_heads_are_needed_and_only_one_per_task(make_chain: Callable, weights: Path) -> None:
    chain = make_chain()
    others = [artifact for artifact in chain.transfers if artifact.facts["method"] == "scratch"]
    for heads, message in ((others, "no ComFace head"), (chain.heads * 2, "two heads for the task")):
        with pytest.raises(DataError, match=message):
            register(chain.store, RegisterConfig(), chain.evaluation, chain.backbone, heads, NOW, weights)


def test_the_card_says_what_a_clinician_must_know(make_chain: Callable, weights: Path) -> None:
    text = run(make_chain(), weights).model.read("card.md").decode()
    for part in ("Not a medical device", "MIT \\| research", "DigiFace-1M", "rehearsal", "skin tones", "100 identities",
                 "1,100 images", "comface verify", "90 % prediction interval",
                 "cohort, fgnet (rehearsal)", "face detection"):  # fmt: skip
        assert part in text, part
    assert "efficientnet" not in text, "lies here, but took no part"
    assert f"`{'ab' * 32}`" in text, "the whole sha256 of the generator's weights"
    assert "| fgnet |  | generated (rehearsal) | 1 | 0 |" in text
    assert "| cohort |  | brought by the user | 1 | 0 |" in text
    row = next(line for line in text.splitlines() if line.startswith("| age |"))
    assert "**rehearsal**" in row
    assert "rehearsal" not in next(line for line in text.splitlines() if line.startswith("| smile |"))


def test_a_registered_model_is_traced_back_to_its_tracks(make_chain: Callable, weights: Path) -> None:
    chain = make_chain()
    run(chain, weights)
    walked = [artifact.uri for artifact in walk(chain.store, "comface@v1")]
    kinds = {uri.removeprefix(chain.store.uri).split("/")[1] for uri in walked}
    assert kinds == {
        "model", "backbone", "transfer", "protocol", "features", "faces", "shards", "tracks", "decision", "evaluation"
    }  # fmt: skip
    chain.backbone.store.write("model.safetensors", b"flipped")
    with pytest.raises(DataError, match=r"'model\.safetensors' of .*backbone"):
        walk(chain.store, "comface@v1")


def test_list_show_and_promote_tell_the_same_story(make_chain: Callable, weights: Path) -> None:
    chain = make_chain()
    said = "This store has no registered models; `comface run` registers one. Until then, the model that ships"
    assert models_text(list_models(chain.store)).startswith(said)
    run(chain, weights)
    done = promote_model(chain.store, "comface", NOW)
    assert (done.reference, done.before, done.promoted_at) == ("comface@v1", None, NOW.isoformat())
    rows = list_models(chain.store)
    assert [(row.reference, row.champion) for row in rows] == [("comface@v1", True)]
    assert "champion" in models_text(rows)
    printed = json.loads(json.dumps(rows[0].record()))
    assert list(printed) == ["reference", "champion", "aliases", "registered_at", "tasks", "uri", "signed"]
    assert printed["tasks"]["smile"]["corr"] == pytest.approx(0.6)
    assert "smile  correlation 0.60, linear" in models_text(rows)
    assert "age    correlation 0.50, linear, rehearsal" in models_text(rows)
    shown = show_model(chain.store, None)
    assert shown.reference == "comface@v1"
    assert "# Model card: comface" in model_text(shown)
    older = shown._replace(objects={"model.json": 1})
    assert UNSEEN in model_text(older), "an older model skips this check"
    assert UNSEEN not in model_text(shown)


def test_the_whole_registration_works_on_s3(
    make_chain: Callable, weights: Path, s3_environment: dict[str, str]
) -> None:
    chain = make_chain(open_store("s3://comface/register"))
    assert run(chain, weights).version.reference == "comface@v1"
    assert run(chain, weights).version.reference == "comface@v1"
    assert len(walk(chain.store, None)) == 18


def test_the_gate_takes_the_mean_over_the_seeds_of_a_result(make_chain: Callable, with_tasks: Callable) -> None:
    chain = with_tasks(make_chain(smile=0.6), ("smile", {"seed": 2}), ("smile", {"seed": 1}))
    metrics, _ = metrics_of(transfers_of(chain.evaluation))
    (smile,) = (each for each in metrics if (each[0].task, each[0].method) == ("smile", "comface"))
    assert [metric.corr for metric in smile] == pytest.approx([0.6, 0.4, 0.4]), "the first seed is first"
    assert over_seeds(smile).corr == pytest.approx(1.4 / 3)
    undefined = [smile[0], replace(smile[1], corr=None)]
    assert over_seeds(undefined).corr is None
