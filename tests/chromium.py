"""The browser of the tests of pages, and what they are skipped without."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), "")


def needs_browser(*packages: str) -> list[pytest.MarkDecorator]:
    """Marks of a test file. `packages`: what it imports besides playwright."""
    missing = [name for name in ("playwright", *packages) if not importlib.util.find_spec(name)]
    return [
        pytest.mark.skipif(not BROWSER, reason="no chromium on this machine (apt-get install chromium)"),
        pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (pip install 'comface[dev]')"),
    ]
