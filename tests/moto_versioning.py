"""Versioning of a bucket on the tests' S3 server: what an administrator does, which the store itself never does."""

from __future__ import annotations

import os

from comface.store.s3 import access_from, connected


def set_versioning(bucket: str, status: str) -> None:
    from minio.versioningconfig import VersioningConfig

    connected(access_from(os.environ), os.getpid())[0].set_bucket_versioning(bucket, VersioningConfig(status))
