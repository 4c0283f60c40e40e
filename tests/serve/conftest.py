"""One service for the tests of a file, with a small model of random weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import Served, serving


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return serving().write_random_model(tmp_path_factory.mktemp("random") / "store", "narrow-random")


@pytest.fixture(scope="session")
def pair() -> tuple[bytes, bytes]:
    return serving().pair()


@pytest.fixture(scope="module")
def served(random_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = {"OMP_NUM_THREADS": "1"}  # core, therefore one worker
    found = Served.start(random_model, tmp_path_factory.mktemp("served"), "--queue", "4", environment=one)
    try:
        yield found.ready()
    finally:
        found.stop()
