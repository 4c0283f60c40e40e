"""Every field of a model package edited consistently, hashes and seal included: equal figures, or one sentence."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.sealed import sealed, unsealed
from comface.errors import DataError
from comface.models.compare import changes_of
from comface.models.estimator import load_estimator
from comface.models.listing import model_text, show_model
from comface.store import FileStore

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 0.0, 1e-320, 1e308, -1e308, 10**30, "", "comface", "../x", "\x1b[2J\n", "x" * 10_000, [], {},
    {"a": 1}, [1e9] * 3, [0.0] * 3, [None] * 3, [0.5] * 100_000,
)  # fmt: skip
JSONS = ("heads.json", "preprocessing.json", "config.json")


@pytest.fixture(scope="module")
def package(registered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "model" / "edited"
    shutil.copytree(registered[0].model.store.root, folder)
    return folder


def edited(folder: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Artifact:
    """The package with objects and facts changed, every size, hash and seal made right again."""
    manifest = unsealed((folder / "manifest.json").read_bytes())
    before = {name: (folder / name).read_bytes() for name in manifest["objects"]}
    objects = dict(before)
    change(objects, manifest["facts"])
    target = folder.parent / "changed"
    if not target.is_dir():
        shutil.copytree(folder, target)
    for name in before.keys() | objects.keys():
        path = target / name
        if name not in objects:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != objects[name]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(objects[name])
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target).as_posix() not in {*objects, "manifest.json"}:
            path.unlink()
    manifest["objects"] = {
        name: {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in objects.items()
    }
    (target / "manifest.json").write_bytes(sealed(manifest))
    return open_artifact(target.as_uri(), "model")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in nested JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    changed = copy.deepcopy(value)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return changed


def used(model: Artifact) -> dict[str, float] | str:
    """What compare and `models show` make of it: figures, or the sentence of a refusal. Anything else is a failure."""
    faces = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    try:
        text = model_text(show_model(FileStore(model.store.root.parent), str(model.store.root)))
        assert "\x1b" not in text
        estimator = load_estimator(model)
        side = estimator.preprocessing.aligned_px
        changes = changes_of(estimator, *(np.resize(face, (side, side, 3)) for face in faces))
    except DataError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert sentence.isprintable()
        assert len(sentence) < 600
        assert sentence.endswith(".")
        return sentence
    for each in changes.values():
        record = json.dumps(each.record(), allow_nan=False)
        assert record.isprintable()
        assert each.interval is None or all(math.isfinite(end) for end in each.interval)
    return {task: each.change for task, each in changes.items()}


def test_the_package_itself_gives_figures(package: Path) -> None:
    assert isinstance(used(edited(package, lambda *_: None)), dict)


def test_any_value_at_any_place_of_a_json_is_a_model_or_a_sentence(package: Path) -> None:
    rng = np.random.default_rng(1)
    refused = 0
    cases = []
    for name in JSONS:
        content = json.loads((package / name).read_bytes())
        if name == "config.json":
            content["pretrain"] = {"backbone": content["pretrain"]["backbone"]}
        where = list(places(content))
        cases += [(name, content, path, VALUES[i]) for path in where for i in rng.permutation(len(VALUES))[:2]]
    for name, content, path, new in cases:
        changed = json.dumps(put(content, path, new)).encode()
        result = used(edited(package, lambda objects, _, n=name, d=changed: objects.__setitem__(n, d)))
        refused += isinstance(result, str)
    assert refused > len(cases) / 2


@pytest.mark.parametrize("data", [b"", b"NaN", b"[]", b"{", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"smile": 1}'])
@pytest.mark.parametrize("name", JSONS)
def test_what_is_no_such_json_is_a_sentence(package: Path, name: str, data: bytes) -> None:
    assert isinstance(used(edited(package, lambda objects, _: objects.__setitem__(name, data))), str)


def test_unknown_fields_and_tasks_are_refused(package: Path) -> None:
    heads = json.loads((package / "heads.json").read_bytes())
    for changed in (
        put(heads, ("smile", "more"), 1),
        heads | {"other": heads["smile"]},
        heads | {"../../x": heads["smile"]},
        {"smile": {key: value for key, value in heads["smile"].items() if key != "coverage"}},
        put(heads, ("smile", "mode"), "finetune"),
    ):
        data = json.dumps(changed).encode()
        assert isinstance(used(edited(package, lambda objects, _, d=data: objects.__setitem__("heads.json", d))), str)


def test_a_model_of_an_earlier_version_which_names_its_test_set_otherwise_is_used(package: Path) -> None:
    heads = json.loads((package / "heads.json").read_bytes())
    old = {
        task: {"test_sha256" if key == "protocol_sha256" else key: value for key, value in entry.items()}
        for task, entry in heads.items()
    }
    assert old != heads
    data = json.dumps(old).encode()
    assert not isinstance(used(edited(package, lambda objects, _: objects.__setitem__("heads.json", data))), str)


def test_facts_of_the_manifest_are_a_listing_or_a_sentence(package: Path) -> None:
    facts = unsealed((package / "manifest.json").read_bytes())["facts"]
    rng = np.random.default_rng(2)
    for path in places(facts):
        new = VALUES[int(rng.integers(len(VALUES)))]

        def change(_: dict[str, bytes], old: dict[str, Any], path: tuple[Any, ...] = path, new: Any = new) -> None:
            changed = put(old, path, new)
            old.clear()
            old.update(changed)

        used(edited(package, change))


def head(package: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load((package / "heads/smile.safetensors").read_bytes())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 0.0), ("scale", -1.0), ("scale", math.nan), ("mean", math.inf), ("weight", math.nan),
        ("weight", 3e38), ("bias", math.nan), ("scale", 1e-45),
    ],
)  # fmt: skip
def test_a_head_with_numbers_that_are_none_is_refused_or_gives_finite_figures(
    package: Path, name: str, value: float
) -> None:
    tensors = head(package)
    tensors[name] = np.full_like(tensors[name], value)
    data = safetensors.numpy.save(tensors)
    result = used(edited(package, lambda objects, _: objects.__setitem__("heads/smile.safetensors", data)))
    if not math.isfinite(value) or value <= 0:
        assert isinstance(result, str)
        assert "heads/smile.safetensors" in result


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "more": t["bias"]},
        lambda t: {k: v for k, v in t.items() if k != "scale"},
        lambda t: {**t, "weight": t["weight"].astype(np.float64)},
        lambda t: {**t, "weight": t["weight"].astype(np.int32)},
        lambda t: {**t, "weight": t["weight"][None]},
        lambda t: {**t, "antisymmetric": np.array([7], np.uint8)},
        lambda t: {**t, "bias": np.zeros(0, np.float32)},
        lambda _: {},
    ],
)
def test_a_head_of_another_format_is_refused(package: Path, change: Callable[[dict], dict]) -> None:
    data = safetensors.numpy.save(change(head(package)))
    result = used(edited(package, lambda objects, _: objects.__setitem__("heads/smile.safetensors", data)))
    assert isinstance(result, str)


@pytest.mark.parametrize("name", ["model.safetensors", "heads/age.safetensors"])
def test_bytes_that_are_no_weight_file_are_a_sentence(package: Path, name: str) -> None:
    whole = (package / name).read_bytes()
    for data in (
        b"",
        b"\x00" * 8,
        b"\xff" * 64,
        whole[:-1],
        whole[: len(whole) // 2],
        b"\xff" * 8 + whole[8:],
        b"PK" + whole,
    ):
        assert isinstance(used(edited(package, lambda objects, _, d=data: objects.__setitem__(name, d))), str)


def test_a_backbone_that_is_not_the_configured_one_or_not_finite_is_a_sentence(package: Path) -> None:
    state = safetensors.numpy.load((package / "model.safetensors").read_bytes())
    first = next(key for key, value in state.items() if key.startswith("backbone.") and value.ndim > 1)
    bad = state[first].copy()
    bad.flat[0] = np.nan
    variance = {k: -np.abs(v) - 1 if k.endswith("running_var") else v for k, v in state.items()}
    for changed in (
        {**state, first: bad},
        {**state, first: np.zeros((1, 1), np.float32)},
        {**state, first: state[first] > 0},
        {k: v for k, v in state.items() if k != first},
        {**state, first: np.full_like(state[first], 3e38)},
        variance,
    ):
        data = safetensors.numpy.save(changed)
        result = used(edited(package, lambda objects, _, d=data: objects.__setitem__("model.safetensors", d)))
        assert isinstance(result, str)


def test_a_file_that_claims_to_be_huge_is_not_read(package: Path) -> None:
    model = edited(package, lambda *_: None)
    manifest = unsealed(model.store.read("manifest.json"))
    for name in ("heads.json", "heads/smile.safetensors", "model.safetensors", "card.md"):
        path = model.store.root / name
        with path.open("r+b") as file:
            file.truncate(1 << 40)  # sparse
        manifest["objects"][name] = {"size_bytes": 1 << 40, "sha256": "ab" * 32}
        model.store.write("manifest.json", sealed(manifest))
        assert "MB" in used(open_artifact(model.uri, "model"))
        path.unlink()
        shutil.copy(package / name, path)
        manifest = unsealed((package / "manifest.json").read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "more": t["rest"]},
        lambda t: {k: v for k, v in t.items() if k != "axes"},
        lambda t: {**t, "axes": t["axes"][:, :-1]},
        lambda t: {**t, "axes": t["axes"][:0]},
        lambda t: {**t, "rest": np.zeros_like(t["rest"])},
        lambda t: {**t, "deviation": -t["deviation"]},
        lambda t: {**t, "distance": t["distance"][::-1].copy()},
        lambda t: {**t, "mean": np.full_like(t["mean"], np.nan)},
    ],
)
def test_a_distribution_of_features_that_is_none_is_refused(package: Path, change: Callable) -> None:
    tensors = change(safetensors.numpy.load((package / "features.safetensors").read_bytes()))
    data = safetensors.numpy.save(tensors)
    result = used(edited(package, lambda objects, _: objects.__setitem__("features.safetensors", data)))
    assert isinstance(result, str)
    assert "features.safetensors" in result


def test_a_model_of_an_earlier_version_without_a_distribution_of_features_is_used(package: Path) -> None:
    assert isinstance(used(edited(package, lambda objects, _: objects.pop("features.safetensors"))), dict)


def rewritten(package: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the package with a changed manifest whose seal is right."""
    shutil.copytree(package, folder)
    manifest = unsealed((folder / "manifest.json").read_bytes())
    change(manifest)
    (folder / "manifest.json").write_bytes(sealed(manifest))
    return folder


def test_a_package_of_schema_2_with_one_half_width_is_used(package: Path, tmp_path: Path) -> None:
    heads = json.loads((package / "heads.json").read_bytes())
    for entry in heads.values():
        interval = entry.pop("interval")
        entry["interval_half_width"] = interval and interval["constant"]
        entry.pop("why_mode")
        entry["test_sha256"] = entry.pop("protocol_sha256")
    data = json.dumps(heads).encode()

    def of_0_1(manifest: dict[str, Any]) -> None:
        manifest["schema"] = "comface/manifest/2"
        del manifest["revisions"], manifest["objects"]["features.safetensors"]
        manifest["facts"] = {"name": "comface", "tasks": heads, "metrics": []}
        manifest["objects"]["heads.json"] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    folder = rewritten(package, tmp_path / "model" / "old", of_0_1)
    (folder / "heads.json").write_bytes(data)
    assert isinstance(used(open_artifact(folder.as_uri(), "model")), dict)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.__setitem__("schema", "comface/manifest/4"), "manifest schema 4; this version reads up to 3"),
        (
            lambda m: m["facts"].update({"format": 3, "unheard_of": [1]}),
            "package format 3; this version reads up to 2",
        ),
    ],
)
def test_a_package_of_a_newer_version_is_refused_by_name_with_what_to_do(
    package: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        change(manifest)
        manifest["code"]["version"] = "9.1.0"

    folder = rewritten(package, tmp_path / "model" / "new", newer)
    for door in (
        lambda: load_estimator(open_artifact(folder.as_uri(), "model")),
        lambda: show_model(FileStore(tmp_path), str(folder)),
    ):
        with pytest.raises(DataError) as error:
            door()
        assert f"was made by comface 9.1.0, a newer version ({why}); install comface 9.1.0 or later." in str(
            error.value
        )


def test_a_manifest_of_a_newer_version_with_another_seal_is_named_too(package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model" / "new"
    shutil.copytree(package, folder)
    text = (folder / "manifest.json").read_text().replace("comface/manifest/3", "comface/manifest/12")
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="by a newer version of comface \\(manifest schema 12"):
        open_artifact(folder.as_uri(), "model")
