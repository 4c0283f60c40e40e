"""Signatures of models: who vouches for a package, and that no byte of it has changed since.

In: a `model` artifact, ed25519 keys. Out: `signatures/KEY.json` beside the manifest, one per key; or DataError for a
model that no trusted key has signed.

The signature is a DSSE envelope (github.com/secure-systems-lab/dsse) around an in-toto statement
(in-toto.io/Statement/v1) whose subject is `manifest.json` with its sha256. The manifest names every file with size and
sha256, and no file is used that differs from it, so the signature covers the package. OpenSSF model signing wraps the
same envelope and type of statement in a Sigstore bundle. Its package is not used: it needs 15 others (Sigstore, TUF,
DNS, e-mail validation …), hashes all files a second time, and cannot sign with ed25519. ed25519 is deterministic, so
signing twice gives the same bytes.

The trusted keys are set once for a process (`trust`, COMFACE_TRUSTED_KEYS), not passed from call to call, so that no
way to open a model can forget them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from comface.artifacts.manifest import MANIFEST, Artifact
from comface.errors import ConfigurationError, DataError
from comface.files import place_if_absent, read_bounded, write_private
from comface.models.config import KEY, PREFIX
from comface.models.shipped import PIN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNING_KEY, TRUSTED_KEYS = "COMFACE_SIGNING_KEY", "COMFACE_TRUSTED_KEYS"
"""The file of the private key, or its content (from a secret); public keys, separated by commas or spaces."""
FOLDER = "signatures"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "urn:comface:model-signature:1"
SIGNATURE_BYTES, KEY_BYTES = 1 << 16, 1 << 14
PINNED = PIN.rpartition("=")[2]

_trusted: tuple[str, ...] = ()


class Signature(NamedTuple):
    """`key`: the public key, as text. `valid`: it fits the manifest. `trusted`: the key is one of the trusted keys."""

    key: str
    valid: bool
    trusted: bool


def trust(keys: Iterable[str]) -> None:
    """Set the trusted public keys of this process, as the configuration names them."""
    global _trusted
    _trusted = tuple(keys)


def trusted_keys(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the trusted keys: those of the configuration and of COMFACE_TRUSTED_KEYS. Empty: any model is used."""
    named = re.split(r"[,\s]+", environment.get(TRUSTED_KEYS, "").strip())
    for key in filter(None, named):
        if not re.fullmatch(KEY, key):
            raise ConfigurationError(
                f"{TRUSTED_KEYS} contains a text that is not a public key; write the keys as `comface models keygen` "
                f"prints them ('{PREFIX}' and 43 characters), separated by commas."
            )
    return tuple(dict.fromkeys([*_trusted, *filter(None, named)]))


def check_signature(model: Artifact) -> str | None:
    """Return the trusted key that signed a model; None if there are no trusted keys, and for the model that ships with
    the package, whose sha256 stands in the code. Raises DataError if no trusted key signed it, or if a signature does
    not fit it."""
    keys = trusted_keys()
    if model.sha256 == PINNED:
        return None
    problem = None
    for key in keys:
        try:
            if model.store.exists(_place(key)):
                _verify(model, key)
                return key
        except DataError as error:
            problem = error
    if problem is not None:
        raise problem
    if keys:
        raise DataError(
            f"The model at {model.uri} has no signature of a trusted key (registry.trusted_keys, {TRUSTED_KEYS}); "
            "check where it comes from, then sign it with `comface models sign`."
        )
    return None


def signatures(model: Artifact) -> list[Signature]:
    """Return all signatures of a model."""
    found = []
    trusted = trusted_keys()
    for place in model.store.keys(FOLDER):
        try:
            key = str(_envelope(model, place)["signatures"][0]["keyid"])
            if place != _place(key):
                raise DataError
            _verify(model, key)
            found.append(Signature(key, True, key in trusted))
        except DataError:
            found.append(Signature(Path(place).stem, False, False))
    return found


def sign(model: Artifact, private: Ed25519PrivateKey) -> str:
    """Sign a model, after every file was compared with its manifest, and return the public key."""
    for name in model.manifest.objects:
        model.check(name)
    payload = json.dumps(_statement(model), sort_keys=True).encode()
    key = public_text(private)
    signature = private.sign(_encoded(payload))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key, "sig": base64.b64encode(signature).decode()}],
    }
    data = (json.dumps(envelope, indent=1, sort_keys=True) + "\n").encode()
    if not model.store.create(_place(key), data):
        try:
            _verify(model, key)
        except DataError:  # a damaged signature is replaced
            model.store.write(_place(key), data)
    return key


def generate_key(path: Path) -> str:
    """Write a new private key (PEM, readable by its owner only) and, as PATH.pub, its public key, which is returned.
    Raises ConfigurationError if the file exists."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(path.name + ".pub")
    if public.exists():
        raise ConfigurationError(f"The file '{public}' exists and was not replaced; name another one.")
    private = Ed25519PrivateKey.generate()
    data = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        write_private(path, lambda file: file.write(data), place_if_absent)
    except FileExistsError:
        raise ConfigurationError(f"The file '{path}' exists and was not replaced; name another one.") from None
    except OSError as error:
        raise ConfigurationError(
            f"The key cannot be written to '{path}' ({error.strerror}); name another one."
        ) from None
    key = public_text(private)
    write_private(public, lambda file: file.write(f"{key}\n".encode()), os.replace)
    return key


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Raises ConfigurationError, which never contains the content, for a file that is not an ed25519 key in PEM."""
    return _private_key(read_bounded(path, KEY_BYTES, "The signing key", ConfigurationError), f"The file '{path}'")


def _private_key(data: bytes, what: str) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{what} is not an unencrypted ed25519 private key (PEM); make one with `comface models keygen FILE`."
        )
    return private


def key_of_environment(environment: Mapping[str, str] = os.environ) -> Ed25519PrivateKey | None:
    """Return the key that signs new models, None if COMFACE_SIGNING_KEY names none. Raises ConfigurationError if
    there are trusted keys and it is none of them, because the new model would be refused."""
    path, trusted = environment.get(SIGNING_KEY, ""), trusted_keys(environment)
    if not path and trusted:
        raise ConfigurationError(
            f"There are trusted keys, but {SIGNING_KEY} names no key, so a new model would be refused; "
            "set it to the file of a private key."
        )
    if not path:
        return None
    private = _private_key(path.encode(), SIGNING_KEY) if "-----BEGIN" in path else None
    private = private or read_private_key(Path(path).expanduser())
    if trusted and public_text(private) not in trusted:
        raise ConfigurationError(
            f"The key that {SIGNING_KEY} names is none of the trusted keys; "
            f"add {public_text(private)} to registry.trusted_keys, or use another key."
        )
    return private


def public_text(private: Ed25519PrivateKey) -> str:
    return PREFIX + base64.urlsafe_b64encode(private.public_key().public_bytes_raw()).decode().rstrip("=")


def _place(key: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _statement(model: Artifact) -> dict[str, Any]:
    subject = {"name": MANIFEST, "digest": {"sha256": model.sha256}}
    return {"_type": STATEMENT, "subject": [subject], "predicateType": PREDICATE, "predicate": {}}


def _encoded(payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _envelope(model: Artifact, place: str) -> dict[str, Any]:
    """The envelope at `place`. Raises DataError for anything but an envelope with one signature."""
    try:
        envelope = json.loads(model.store.read(place, SIGNATURE_BYTES))
        one = envelope["signatures"]
        texts = envelope["payload"], envelope["payloadType"], one[0]["keyid"], one[0]["sig"]
        if len(one) == 1 and all(isinstance(text, str) for text in texts):
            return dict(envelope)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
        pass
    raise _wrong(model, "is not readable")


def _verify(model: Artifact, key: str) -> None:
    """Raises DataError if the signature of `key` does not fit the model."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    envelope = _envelope(model, _place(key))
    given = envelope["signatures"][0]
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(given["sig"], validate=True)
        raw = base64.urlsafe_b64decode(key.removeprefix(PREFIX) + "=")
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, _encoded(payload))
        fits = given["keyid"] == key and envelope["payloadType"] == PAYLOAD_TYPE
        statement = json.loads(payload)
    except (ValueError, RecursionError, InvalidSignature):
        raise _wrong(model, "is not valid") from None
    if not fits or statement != _statement(model):
        raise _wrong(model, "belongs to another model")


def _wrong(model: Artifact, what: str) -> DataError:
    return DataError(
        f"A signature of the model at {model.uri} {what}: the model or the signature was changed; get both again."
    )
