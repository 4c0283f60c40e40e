"""Lifecycle rules of a bucket: what the store itself removes, without a run or a command.

In: a store and days. Out: rules as S3's JSON. Rules choose by prefix only, so checkpoints of abandoned trainings are
not among them; `comface artifacts clean` removes these.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from comface.errors import ConfigurationError
from comface.store import Store
from comface.store.s3 import S3Store

FACES = ("faces", "features", "protocol")
"""Kinds that hold photos of people, or what is computed from each of them."""


def bucket_rules(store: Store, faces: int | None, versions: int, uploads: int) -> dict[str, Any]:
    """`faces`: None keeps them. Raises ConfigurationError for a store in a folder."""
    top = f"{_bucket(store).prefix}/".lstrip("/")
    rules = [
        _rule("replaced-versions", top, NoncurrentVersionExpiration={"NoncurrentDays": versions}),
        _rule("deleted-objects", top, Expiration={"ExpiredObjectDeleteMarker": True}),
        _rule("incomplete-uploads", top, AbortIncompleteMultipartUpload={"DaysAfterInitiation": uploads}),
    ]
    if faces is not None:
        rules += [_rule(f"retention-{kind}", f"{top}{kind}/", Expiration={"Days": faces}) for kind in FACES]
    return {"Rules": rules}


def set_rules(store: Store, rules: dict[str, Any]) -> None:
    """Replaces the rules of the bucket."""
    from minio.lifecycleconfig import LifecycleConfig
    from minio.xml import unmarshal

    bucket = _bucket(store)
    config = unmarshal(
        LifecycleConfig, BytesIO(_xml("LifecycleConfiguration", _as_xml(rules)).encode()).read().decode()
    )
    bucket._call("", lambda: bucket.client.set_bucket_lifecycle(bucket.bucket, config))


def _bucket(store: Store) -> S3Store:
    if not isinstance(store, S3Store):
        raise ConfigurationError(
            f"{store.uri} is a folder, which has no rules; run `comface artifacts clean` now and then, or name an "
            "s3:// store with --store."
        )
    return store


def _rule(name: str, prefix: str, **what: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **what}


def _as_xml(rules: dict[str, Any]) -> str:
    return "".join(_xml("Rule", "".join(_xml(k, _value(v)) for k, v in rule.items())) for rule in rules["Rules"])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(_xml(name, _value(each)) for name, each in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _xml(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"
