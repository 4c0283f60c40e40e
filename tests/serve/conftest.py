"""One service for the tests of a file, with a small model of random weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from random_model import two_photos, write_random_model
from served import Served


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_random_model(tmp_path_factory.mktemp("random") / "store", "narrow-random")


@pytest.fixture(scope="session")
def pair() -> tuple[bytes, bytes]:
    return two_photos()


@pytest.fixture(scope="module")
def served(random_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = {"OMP_NUM_THREADS": "1"}  # core, therefore one worker
    found = Served.start(random_model, tmp_path_factory.mktemp("served"), "--queue", "4", environment=one)
    try:
        yield found.ready()
    finally:
        found.stop()
