"""Artifacts: published whole or not at all, addressed by what made them, and traced back with every hash checked."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import comface
from comface.artifacts.code_digest import digest_of
from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.sealed import sealed, unsealed
from comface.artifacts.verify import verify
from comface.config.canonical import canonical_json
from comface.errors import DataError
from comface.store import FileStore, open_store

REVISIONS = {"test": 1}
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def made(store, kind: str, content: bytes, inputs: dict[str, Artifact] | None = None) -> Artifact:
    draft = Draft(store, kind, {"content": content.decode()}, inputs or {}, REVISIONS)
    draft.write("data.bin", content)
    return draft.publish({"size": len(content)})


def edit(artifact: Artifact, **facts: object) -> None:
    """Change facts consistently: with a new seal."""
    manifest = unsealed(artifact.store.read("manifest.json"))
    manifest["facts"] |= facts
    artifact.store.write("manifest.json", sealed(manifest))


def seen(artifact: Artifact | None) -> tuple:
    assert artifact is not None
    return artifact.uri, artifact.sha256, artifact.manifest


# Publication


def test_a_draft_is_invisible_until_it_is_published(store: FileStore) -> None:
    draft = Draft(store, "shards", {"a": 1}, {}, REVISIONS)
    draft.write("x", b"1")
    assert draft.published() is None
    with pytest.raises(DataError, match="no finished artifact"):
        open_artifact(draft.uri)
    artifact = draft.publish({"images": 3})
    assert seen(draft.published()) == seen(artifact) == seen(open_artifact(draft.uri, "shards"))
    assert artifact.read("x") == b"1"
    assert artifact.facts == {"images": 3}


def test_the_address_is_a_function_of_kind_configuration_inputs_and_revisions(store: FileStore) -> None:
    a, b = made(store, "tracks", b"a"), made(store, "tracks", b"b")
    one = Draft(store, "shards", {"x": 1, "y": [1, 2]}, {"tracks": a}, REVISIONS)
    assert one.uri == Draft(store, "shards", {"y": [1, 2], "x": 1}, {"tracks": a}, REVISIONS).uri
    others = [
        Draft(store, "tracks", {"x": 1, "y": [1, 2]}, {"tracks": a}, REVISIONS),
        Draft(store, "shards", {"x": 2, "y": [1, 2]}, {"tracks": a}, REVISIONS),
        Draft(store, "shards", {"x": 1, "y": [1, 2]}, {"tracks": b}, REVISIONS),
        Draft(store, "shards", {"x": 1, "y": [1, 2]}, {"tracks": a}, {"test": 2}),
    ]
    assert len({one.uri, *(other.uri for other in others)}) == 5


def test_a_reworded_program_makes_the_same_addresses_and_names_itself_in_the_manifest(tmp_path: Path) -> None:
    here = Path(comface.__file__).parent
    chain = (
        "import sys\nfrom pathlib import Path\nfrom comface.artifacts.manifest import Draft\n"
        "from comface.store import FileStore\nstore = FileStore(Path(sys.argv[1]))\n"
        "tracks = Draft(store, 'tracks', {'seed': 1}, {}, {'synthesize': 1}).publish({})\n"
        "shards = Draft(store, 'shards', {}, {'tracks': tracks}, {'shard': 1}).publish({})\n"
        "print(tracks.address, shards.address, shards.manifest.code['digest'])\n"
    )
    said = []
    for name in ("as it is", "reworded"):
        root = tmp_path / name / "comface"
        shutil.copytree(here, root, ignore=shutil.ignore_patterns("__pycache__"))
        if name == "reworded":
            module = root / "artifacts" / "manifest.py"
            module.write_text(module.read_text().replace("Artifacts and their manifests", "Manifests and artifacts"))
        environment = {**os.environ, "PYTHONPATH": str(root.parent)}
        command = [sys.executable, "-c", chain, str(tmp_path / name / "store")]
        said.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split())
    assert said[0][:2] == said[1][:2]
    assert said[0][2] != said[1][2]


def test_an_input_that_was_made_again_gives_what_is_made_of_it_another_address(store: FileStore) -> None:
    """Other bits may come of the same work (another machine); what was made of the first ones is not taken for it."""
    made_of = [made(store, "tracks", b"a"), made(store, "screening", b"s")]
    inputs = dict(zip(("tracks", "screening"), made_of, strict=True))
    first = Draft(store, "shards", {}, inputs, REVISIONS).publish({})
    assert seen(Draft(store, "shards", {}, inputs, REVISIONS).published()) == seen(first)
    edit(made_of[0], size=2)
    again = {**inputs, "tracks": open_artifact(made_of[0].uri)}
    draft = Draft(store, "shards", {}, again, REVISIONS)
    assert draft.published() is None
    second = draft.publish({})
    assert (second.uri != first.uri, second.input("tracks").sha256) == (True, again["tracks"].sha256)
    assert seen(Draft(store, "shards", {}, again, REVISIONS).published()) == seen(second)
    assert (
        Draft(store, "backbone", {}, {"shards": second}, REVISIONS).uri
        != Draft(store, "backbone", {}, {"shards": first}, REVISIONS).uri
    )


def test_what_publish_returns_is_what_a_reader_sees(store: FileStore) -> None:
    draft = Draft(store, "transfer", {"folds": (1, 2)}, {}, REVISIONS)
    artifact = draft.publish({"pair": (1, 2), "corr": math.nan, "nested": [{"mae": math.inf}]})
    assert seen(artifact) == seen(open_artifact(draft.uri))
    assert artifact.facts == {"pair": [1, 2], "corr": None, "nested": [{"mae": None}]}


def test_an_object_of_an_interrupted_run_is_adopted(store: FileStore) -> None:
    Draft(store, "tracks", {"a": 1}, {}, REVISIONS).write("chunk-00000.tar", b"made before")
    again = Draft(store, "tracks", {"a": 1}, {}, REVISIONS)
    assert again.adopt(["chunk-00000.tar"], bytes) == b"made before"
    assert again.adopt(["chunk-00001.tar"], bytes) is None
    assert again.publish({}).read("chunk-00000.tar") == b"made before"


WRITER = """
import sys
from pathlib import Path
from comface.artifacts.manifest import Draft
from comface.store import FileStore

draft = Draft(FileStore(Path(sys.argv[1])), "backbone", {"epochs": 1}, {}, {"test": 1})
draft.write("model.safetensors", bytes(1000))
print(draft.uri, flush=True)
sys.stdin.readline()
draft.publish({})
print("published", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("published", [False, True])
def test_of_a_step_that_is_killed_a_reader_finds_the_whole_artifact_or_none(store: FileStore, published: bool) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdin is not None
    uri = writer.stdout.readline().strip()
    if published:
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "published\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    if published:
        assert [artifact.uri for artifact in verify(uri)] == [uri]
    else:
        with pytest.raises(DataError, match="no finished artifact"):
            open_artifact(uri)


# Trust


def test_a_flipped_bit_is_found_at_the_first_read(store: FileStore) -> None:
    artifact = made(store, "shards", b"0123456789")
    path = Path(artifact.store.path("data.bin"))
    path.write_bytes(b"012345678\x38")  # '9' is 0x39
    for read in (lambda: artifact.read("data.bin"), lambda: artifact.local("data.bin", path.parent)):
        with pytest.raises(DataError, match=r"'data.bin' of file.* does not match its manifest") as error:
            read()
        assert error.value.exit_code == 65


def test_a_missing_object_and_a_name_that_the_manifest_lacks_are_sentences(store: FileStore) -> None:
    artifact = made(store, "shards", b"x")
    with pytest.raises(DataError, match="has no object 'other'"):
        artifact.read("other")
    artifact.store.delete("data.bin")
    with pytest.raises(DataError, match="no longer exists"):
        artifact.local("data.bin", Path("unused"))
    with pytest.raises(DataError, match=r"no object 'data\.bin'"):
        artifact.read("data.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: b"{", "its seal is not valid"),
        (lambda m: b"[" * 100_000, "its seal is not valid"),
        (lambda m: json.dumps(m).encode(), "its seal is not valid"),
        (lambda m: sealed({**m, "schema": "comface/manifest/9"}), "by a newer version of comface .manifest schema 9"),
        (lambda m: sealed({**m, "surprise": 1}), "another version .surprise"),
        (lambda m: sealed({k: v for k, v in m.items() if k != "objects"}), "another version .objects"),
        (lambda m: json.dumps({**m, "schema": "comface/manifest/1"}).encode(), "made by an older version"),
    ],
)
def test_a_manifest_that_is_none_is_said_to_be_unreadable(store: FileStore, change, message: str) -> None:
    artifact = made(store, "shards", b"x")
    artifact.store.write("manifest.json", change(unsealed(artifact.store.read("manifest.json"))))
    with pytest.raises(DataError, match=message) as error:
        open_artifact(artifact.uri)
    assert str(error.value).endswith(("rerun its step.", "run its step again.", "install that version or later."))


def test_an_artifact_from_before_revisions_is_read_verified_and_used(tmp_path: Path) -> None:
    """tests/data/schema-2 was written by the code before schema 3: `features`, made of `faces`."""
    store = FileStore(tmp_path / "store")
    shutil.copytree(Path(__file__).parent / "data" / "schema-2", store.root)
    older = open_artifact(store.child("features/ad762c1015e1692bceb5").uri, "features")
    assert older.sha256 == "e9d21899fa2412a308fbd7dd4cf6c99b15b3dab783a640d590449c51d7ad965c"
    assert (older.manifest.schema_name, older.manifest.revisions) == ("comface/manifest/2", {})
    assert older.facts == {"photos": 3, "corr": None}
    assert older.read("features.npy") == b"features"
    assert older.input("faces", "faces").read("faces.npy") == b"faces"
    newer = Draft(store, "transfer", {}, {"features": older}, REVISIONS).publish({})
    assert newer.manifest.schema_name == "comface/manifest/3"
    assert [each.manifest.kind for each in verify(newer.uri)] == ["transfer", "features", "faces"]
    store.write("faces/3094b72c522ae4c9aee0/faces.npy", b"Faces")
    with pytest.raises(DataError, match=r"'faces\.npy' of .* does not match its manifest"):
        list(verify(newer.uri))


def test_an_artifact_of_another_kind_is_refused(store: FileStore) -> None:
    with pytest.raises(DataError, match="kind 'tracks', not 'shards'"):
        open_artifact(made(store, "tracks", b"x").uri, "shards")


# The chain


@pytest.fixture
def chain(store: FileStore) -> list[Artifact]:
    """tracks → shards → backbone, and model made from both shards and backbone."""
    tracks = made(store, "tracks", b"t")
    shards = made(store, "shards", b"s", {"tracks": tracks})
    backbone = made(store, "backbone", b"b", {"shards": shards})
    return [made(store, "model", b"m", {"backbone": backbone, "shards": shards}), backbone, shards, tracks]


def test_verification_walks_back_to_every_input_once(chain: list[Artifact]) -> None:
    walked = [artifact.uri for artifact in verify(chain[0].uri)]
    assert sorted(walked) == sorted(artifact.uri for artifact in chain)
    assert walked[0] == chain[0].uri


def test_verification_catches_a_flipped_bit_of_the_farthest_input(chain: list[Artifact]) -> None:
    chain[-1].store.write("data.bin", b"T")
    with pytest.raises(DataError, match=f"'data.bin' of {chain[-1].uri}"):
        list(verify(chain[0].uri))


def test_verification_catches_an_input_that_was_made_again_differently(chain: list[Artifact]) -> None:
    shards = chain[2]
    edit(shards, size=2)
    assert list(verify(shards.uri)), "consistent in itself"
    with pytest.raises(DataError, match=f"{shards.uri} does not match the sha256 in the reference"):
        list(verify(chain[0].uri))


def test_verification_compares_every_user_of_a_shared_input(store: FileStore) -> None:
    """Two artifacts were made from two versions of one address: whichever is walked first, one of them is wrong."""
    old = made(store, "tracks", b"t")
    first = made(store, "shards", b"1", {"tracks": old})
    edit(old, size=2)
    second = made(store, "shards", b"2", {"tracks": open_artifact(old.uri)})
    for inputs in ({"a": first, "b": second}, {"a": second, "b": first}):
        model = made(store, "model", str(list(inputs)).encode(), inputs)
        with pytest.raises(DataError, match="changed later"):
            list(verify(model.uri))


# The cache of objects from S3


def _fetch(uri: str, cache: str, start: multiprocessing.Barrier) -> None:
    artifact = open_artifact(uri)
    start.wait(30)
    for _ in range(20):
        assert Path(artifact.local("data.bin", Path(cache))).stat().st_size == 300_000


def test_processes_that_share_a_cache_each_get_the_whole_object(s3_environment: dict[str, str], tmp_path: Path) -> None:
    draft = Draft(open_store("s3://comface/cache", s3_environment), "shards", {}, {}, REVISIONS)
    draft.write("data.bin", b"abc" * 100_000)
    artifact = draft.publish({})
    start = SPAWN.Barrier(3)
    readers = [SPAWN.Process(target=_fetch, args=(artifact.uri, str(tmp_path / "c"), start)) for _ in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
        assert reader.exitcode == 0
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_a_damaged_copy_in_the_cache_is_fetched_again(s3_environment: dict[str, str], tmp_path: Path) -> None:
    draft = Draft(open_store("s3://comface/cache2", s3_environment), "shards", {}, {}, REVISIONS)
    draft.write("data.bin", b"whole")
    artifact = draft.publish({})
    copy = artifact.local("data.bin", tmp_path / "c")
    copy.write_bytes(b"half")
    assert artifact.local("data.bin", tmp_path / "c").read_bytes() == b"whole"
    artifact.store.write(artifact.key("data.bin"), b"other")
    copy.unlink()
    with pytest.raises(DataError, match="does not match its manifest"):
        artifact.local("data.bin", tmp_path / "c")


# Code


@pytest.mark.parametrize("name", ["seeds.py", "evaluate/report.html", "plan/profiles/laptop.yaml", "added.py"])
def test_the_code_digest_changes_with_any_file_of_the_package_but_not_with_what_python_keeps(
    tmp_path: Path, name: str
) -> None:
    here, copy = Path(comface.__file__).parent, tmp_path / "elsewhere"
    shutil.copytree(here, copy)
    (copy / "store" / "__pycache__").mkdir(exist_ok=True)
    (copy / "store" / "__pycache__" / "kept.pyc").write_bytes(b"kept")
    assert digest_of(copy) == digest_of(here)
    with (copy / name).open("a") as file:
        file.write("\n# changed\n")
    assert digest_of(copy) != digest_of(here)


def test_canonical_json_is_one_text_per_value_and_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "ä", None]}) == '{"a":[1.5,"ä",null],"b":1}'
    assert canonical_json({"a": 2**62}) == '{"a":4611686018427387904}'
    with pytest.raises(ValueError):
        canonical_json({"a": math.nan})
