"""A package that was changed, truncated, not signed, or signed with another key is refused at every door."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from comface import load_model
from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.sealed import sealed, unsealed
from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.models.config import RegistryConfig
from comface.models.estimator import load_estimator
from comface.models.listing import list_models, show_model, sign_model
from comface.models.references import resolve_backbone, resolve_model
from comface.models.registry import Registry
from comface.models.signing import (
    check_signature,
    generate_key,
    key_of_environment,
    public_text,
    read_private_key,
    sign,
    signatures,
    trust,
    trusted_keys,
)
from comface.register.config import RegisterConfig
from comface.register.step import gate, register
from comface.store import FileStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PRIVATE, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@pytest.fixture(autouse=True)
def trusting_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("COMFACE_TRUSTED_KEYS", raising=False)
    monkeypatch.delenv("COMFACE_SIGNING_KEY", raising=False)
    trust(())
    yield
    trust(())


@pytest.fixture
def store(registered: Any, tmp_path: Path) -> FileStore:
    """A registry with one version, the champion, which is not signed."""
    shutil.copytree(registered[1].store.root, tmp_path / "store")
    store = FileStore(tmp_path / "store")
    Registry(store, "comface").promote(1, NOW)
    return store


def model_of(store: FileStore) -> Artifact:
    return Registry(store, "comface").unchecked(Registry(store, "comface").version(1))


def evaluation_of(store: FileStore) -> Artifact:
    decision = Registry(store, "comface").decision(Registry(store, "comface").version(1))
    assert decision is not None
    return decision.input("evaluation")


DOORS: dict[str, Callable[[FileStore], object]] = {
    "a name": lambda store: resolve_model(store, "comface"),
    "the default": lambda store: resolve_model(store, None),
    "the champion": lambda store: resolve_model(store, "comface@champion"),
    "a URI": lambda store: resolve_model(store, model_of(store).uri),
    "a path": lambda store: resolve_model(store, str(model_of(store).store.root)),  # type: ignore[attr-defined]
    "its backbone": lambda store: resolve_backbone(store, "comface"),
    "its backbone by URI": lambda store: resolve_backbone(store, model_of(store).uri),
    "Python": lambda store: load_model("comface", store=store.uri),
    "the estimator": lambda store: load_estimator(model_of(store)),
    "show": lambda store: show_model(store, "comface"),
    "promotion": lambda store: Registry(store, "comface").promote(1, NOW),
    "an alias": lambda store: Registry(store, "comface").point("ward-7", 1, NOW),
    "registration": lambda store: Registry(store, "comface").register(model_of(store), NOW),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_with_trusted_keys_an_unsigned_or_wrongly_keyed_model_is_refused_at_every_door(
    store: FileStore, door: Callable[[FileStore], object]
) -> None:
    door(store)  # without trusted keys, it opens
    trust([public_text(PRIVATE)])
    with pytest.raises(DataError, match="has no signature of a trusted key"):
        door(store)
    sign_model(store, "comface", OTHER)
    with pytest.raises(DataError, match="has no signature of a trusted key"):
        door(store)
    sign_model(store, "comface", PRIVATE)
    door(store)


def test_the_gate_does_not_compare_with_a_champion_that_no_trusted_key_signed(store: FileStore) -> None:
    Registry(store, "comface").promote(1, NOW)
    trust([public_text(PRIVATE)])
    decision, _ = gate(store, RegisterConfig(), evaluation_of(store))
    (reason,) = [each for each in decision.reasons if "signature" in each]
    assert reason.startswith("The champion cannot be read (The model at ")
    sign_model(store, "comface", PRIVATE)
    decision, _ = gate(store, RegisterConfig(), evaluation_of(store))
    assert "signature" not in str(decision)


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "a.jpg", "b.jpg"),
        ("serve", "--port", "0"),
        ("models", "show"),
        ("models", "promote", "comface"),
        ("models", "export", "--format", "torch", "--output", "model.pt2"),
        ("features", "--method", "comface", "a.jpg", "--output", "f.npy"),
        ("verify",),
    ],
    ids=" ".join,
)
def test_every_command_that_uses_a_model_refuses_an_unsigned_one(
    store: FileStore, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    trusting = ["--set", f"registry.trusted_keys=[{public_text(PRIVATE)}]"]
    assert main([*words, "--store", store.uri, *trusting]) == 65
    assert "has no signature of a trusted key" in " ".join(capsys.readouterr().err.split())


def changed_manifest(model: Artifact) -> None:
    """The weights exchanged for others, with size, hash and seal made right again."""
    manifest = unsealed(model.store.read("manifest.json"))
    data = b"other weights"
    model.store.write("model.safetensors", data)
    manifest["objects"]["model.safetensors"] = {
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    model.store.write("manifest.json", sealed(manifest))


def envelope(model: Artifact, **changes: Any) -> None:
    (place,) = model.store.keys("signatures")
    record = json.loads(model.store.read(place))
    record["signatures"][0] |= changes.pop("signature", {})
    model.store.write(place, json.dumps(record | changes).encode())


def other_payload(model: Artifact) -> None:
    (place,) = model.store.keys("signatures")
    payload = json.loads(base64.b64decode(json.loads(model.store.read(place))["payload"]))
    payload["subject"][0]["digest"]["sha256"] = "ab" * 32
    envelope(model, payload=base64.b64encode(json.dumps(payload).encode()).decode())


def cut_signature(model: Artifact) -> None:
    (place,) = model.store.keys("signatures")
    model.store.write(place, model.store.read(place)[:-40])


def flipped(model: Artifact) -> None:
    (place,) = model.store.keys("signatures")
    given = json.loads(model.store.read(place))["signatures"][0]["sig"]
    raw = bytearray(base64.b64decode(given))
    raw[3] ^= 1
    envelope(model, signature={"sig": base64.b64encode(bytes(raw)).decode()})


def anothers(model: Artifact) -> None:
    """The signature of another key under the name of the trusted one."""
    (place,) = model.store.keys("signatures")
    model.store.delete(place)
    sign(model, OTHER)
    (other,) = model.store.keys("signatures")
    model.store.write(
        place, model.store.read(other).replace(public_text(OTHER).encode(), public_text(PRIVATE).encode())
    )
    model.store.delete(other)


DAMAGE: dict[str, Callable[[Artifact], None]] = {
    "other weights": changed_manifest,
    "no signature": lambda model: model.store.delete(*model.store.keys("signatures")),
    "cut signature": cut_signature,
    "a flipped bit": flipped,
    "another payload": other_payload,
    "another type": lambda model: envelope(model, payloadType="text/plain"),
    "no signatures": lambda model: envelope(model, signatures=[]),
    "a signature that is none": lambda model: envelope(model, signature={"sig": "?"}),
    "a key that is none": lambda model: envelope(model, signature={"keyid": 1}),
    "an empty file": lambda model: model.store.write(*model.store.keys("signatures"), b""),
    "deep JSON": lambda model: model.store.write(*model.store.keys("signatures"), b"[" * 50_000),
    "a huge file": lambda model: model.store.write(*model.store.keys("signatures"), b" " * (1 << 17)),
    "another key": anothers,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_signed_model_that_was_changed_is_refused_in_one_sentence(
    store: FileStore, damage: Callable[[Artifact], None]
) -> None:
    model = model_of(store)
    sign(model, PRIVATE)
    trust([public_text(PRIVATE)])
    check_signature(model)
    damage(model)
    again = open_artifact(model.uri, "model")
    with pytest.raises(DataError) as error:
        check_signature(again)
    assert str(error.value).isprintable()
    assert str(error.value).endswith(".")
    with pytest.raises(DataError):
        load_estimator(again)
    with pytest.raises(DataError):
        resolve_model(store, model.uri)


@pytest.mark.parametrize("data", [b"", b"x", None])
def test_a_file_that_was_changed_or_cut_short_is_refused_although_the_signature_fits(
    store: FileStore, data: bytes | None
) -> None:
    model = model_of(store)
    sign(model, PRIVATE)
    trust([public_text(PRIVATE)])
    for name in model.manifest.objects:
        before = model.store.read(name)
        model.store.write(name, before[: len(before) // 2] if data is None else data)
        check_signature(model)
        with pytest.raises(DataError):
            Registry(store, "comface").check(Registry(store, "comface").version(1))
        with pytest.raises(DataError):
            sign(model, PRIVATE)
        if name != "card.md":
            with pytest.raises(DataError):
                load_estimator(model).seen.distance([])  # type: ignore[union-attr]
        model.store.write(name, before)


def test_one_good_signature_of_several_is_enough_and_a_copy_of_the_store_keeps_it(
    store: FileStore, tmp_path: Path
) -> None:
    sign_model(store, "comface", PRIVATE)
    sign_model(store, "comface", OTHER)
    trust([public_text(OTHER), public_text(PRIVATE)])
    model = model_of(store)
    (one,) = (
        place for place in model.store.keys("signatures") if public_text(OTHER).encode() in model.store.read(place)
    )
    model.store.write(one, b"{}")
    shutil.copytree(store.root, tmp_path / "copy")
    copied = model_of(FileStore(tmp_path / "copy"))
    assert check_signature(copied) == public_text(PRIVATE)
    assert sorted((each.valid, each.trusted) for each in signatures(copied)) == [(False, False), (True, True)]
    sign(copied, OTHER)
    assert check_signature(copied) == public_text(OTHER), "signing again replaces a damaged signature"


def test_signing_twice_gives_the_same_bytes_which_any_dsse_verifier_can_check(store: FileStore) -> None:
    model = model_of(store)
    key = sign(model, PRIVATE)
    (place,) = model.store.keys("signatures")
    first = model.store.read(place)
    sign(model, PRIVATE)
    model.store.delete(place)
    sign(model, PRIVATE)
    assert model.store.read(place) == first
    record = json.loads(first)
    payload = base64.b64decode(record["payload"])
    kind = record["payloadType"]
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    raw = base64.urlsafe_b64decode(key.removeprefix("ed25519:") + "=")
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(record["signatures"][0]["sig"]), signed)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "manifest.json", "digest": {"sha256": model.sha256}}]


def test_a_key_pair_is_written_for_its_owner_only_and_never_replaced(tmp_path: Path) -> None:
    key = generate_key(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert (tmp_path / "key.pem.pub").read_text() == f"{key}\n"
    assert public_text(read_private_key(tmp_path / "key.pem")) == key
    assert RegistryConfig(trusted_keys=(key,)).trusted_keys == (key,)
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(ConfigurationError, match="exists and was not replaced"):
        generate_key(tmp_path / "key.pem")
    shutil.move(tmp_path / "key.pem", tmp_path / "vault.pem")
    with pytest.raises(ConfigurationError, match=r"key\.pem\.pub' exists and was not replaced"):
        generate_key(tmp_path / "key.pem")
    shutil.move(tmp_path / "vault.pem", tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


@pytest.mark.parametrize("content", ["", "no key", "ed25519:" + "A" * 43, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n"])
def test_a_file_that_is_no_private_key_is_refused_without_its_content(tmp_path: Path, content: str) -> None:
    (tmp_path / "key.pem").write_text(content)
    with pytest.raises(ConfigurationError, match="is not an unencrypted ed25519 private key") as error:
        read_private_key(tmp_path / "key.pem")
    assert "c2VjcmV0" not in str(error.value)


def test_a_key_of_the_environment_must_be_one_of_the_trusted_keys(tmp_path: Path) -> None:
    key = generate_key(tmp_path / "key.pem")
    named = {"COMFACE_SIGNING_KEY": str(tmp_path / "key.pem")}
    assert key_of_environment({}) is None
    assert public_text(key_of_environment(named)) == key  # type: ignore[arg-type]
    assert key_of_environment(named | {"COMFACE_TRUSTED_KEYS": f"{public_text(OTHER)}, {key}"}) is not None
    text = (tmp_path / "key.pem").read_text()
    assert public_text(key_of_environment({"COMFACE_SIGNING_KEY": text})) == key  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match="COMFACE_SIGNING_KEY is not an unencrypted ed25519 private key"
    ) as error:
        key_of_environment({"COMFACE_SIGNING_KEY": text.replace("MC4", "MC5")})
    assert text.splitlines()[1][:20] not in str(error.value)
    with pytest.raises(ConfigurationError, match="is none of the trusted keys"):
        key_of_environment(named | {"COMFACE_TRUSTED_KEYS": public_text(OTHER)})
    with pytest.raises(ConfigurationError, match="names no key"):
        key_of_environment({"COMFACE_TRUSTED_KEYS": public_text(OTHER)})
    with pytest.raises(ConfigurationError, match="a text that is not a public key"):
        trusted_keys({"COMFACE_TRUSTED_KEYS": "ed25519:short"})


def test_registration_signs_and_says_nothing_of_the_private_key(
    make_chain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = generate_key(tmp_path / "key.pem")
    monkeypatch.setenv("COMFACE_SIGNING_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setenv("COMFACE_TRUSTED_KEYS", key)
    chain = make_chain()
    with caplog.at_level(logging.DEBUG):
        result = register(chain.store, RegisterConfig(), chain.evaluation, chain.backbone, chain.heads, NOW, tmp_path)
    assert result.version is not None
    assert resolve_model(chain.store, "comface")[0] == "comface@v1"
    assert [row.signed for row in list_models(chain.store)] == ["trusted"]
    secret = "".join((tmp_path / "key.pem").read_text().splitlines()[1:-1])
    assert secret not in caplog.text
    assert all(secret.encode() not in chain.store.read(each) for each in chain.store.keys("model"))
    monkeypatch.setenv("COMFACE_TRUSTED_KEYS", public_text(OTHER))
    assert [row.signed for row in list_models(chain.store)] == ["yes"], "a list shows what would be refused"


def test_the_commands_make_a_key_sign_and_refuse(
    store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> tuple[int, str]:
        code = main([*words])
        return code, "".join(capsys.readouterr())

    where = ["--store", str(store.root)]
    code, key = said("models", "keygen", str(tmp_path / "key.pem"))
    trusting = ["--set", f"registry.trusted_keys=[{key.strip()}]"]
    assert code == 0
    assert "not signed" in said("models", "show", *where)[1]
    assert "not signed" in said("models", "list", *where)[1]
    assert said("models", "show", *where, *trusting)[0] == 65
    trust(())
    assert said("models", "sign", "comface@v1", *where)[0] == 64
    monkeypatch.setenv("COMFACE_SIGNING_KEY", str(tmp_path / "key.pem"))
    assert said("models", "sign", "comface@v1", *where)[0] == 0
    assert "(a trusted key)" in said("models", "show", *where, *trusting)[1]
    assert "signed (trusted)  champion" in said("models", "list", *where, *trusting)[1]
    assert said("models", "show", *where, "--set", "registry.trusted_keys=[abc]")[0] == 64


def test_the_model_that_ships_with_the_package_is_used_by_its_sha256_in_the_code(tmp_path: Path) -> None:
    trust([public_text(PRIVATE)])
    called, model = resolve_model(FileStore(tmp_path), None)
    assert called == "shipped"
    load_estimator(model)
    shutil.copytree(model.store.root, tmp_path / "model" / "copy")  # type: ignore[attr-defined]
    changed_manifest(open_artifact((tmp_path / "model" / "copy").as_uri()))
    with pytest.raises(DataError, match="has no signature of a trusted key"):
        resolve_model(FileStore(tmp_path), str(tmp_path / "model" / "copy"))


def test_a_process_that_trusts_keys_refuses_in_code_65(store: FileStore) -> None:
    environment = os.environ | {"COMFACE_TRUSTED_KEYS": public_text(PRIVATE)}
    command = [sys.executable, "-m", "comface", "compare", "a.jpg", "b.jpg", "--store", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 65
    assert "has no signature of a trusted key" in " ".join(done.stderr.split())
