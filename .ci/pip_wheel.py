"""Where a Python has no pip and no ensurepip: the pinned pip's wheel, from the index that pip is configured for.

In: the hashed requirements of the build, a folder. Out: the wheel in it, by its hash, and its path on standard output.
pip runs from its wheel, so nothing of the system is needed, nor any right on it.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

SETTINGS = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")


def index() -> str:
    parser = configparser.ConfigParser(interpolation=None)
    named = os.environ.get("PIP_CONFIG_FILE")
    parser.read([Path(path).expanduser() for path in (*SETTINGS, *([named] if named else []))])
    found = os.environ.get("PIP_INDEX_URL") or parser.get("global", "index-url", fallback="https://pypi.org/simple")
    return found.rstrip("/")


def pinned(requirements: str) -> tuple[str, set[str]]:
    """Version and hashes of pip."""
    block = re.search(r"^pip==(\S+)((?: \\\n\s+--hash=sha256:\w+)+)", requirements, re.MULTILINE)
    if block is None:
        sys.exit("pip is not pinned in the requirements of the build")
    return block[1], set(re.findall(r"sha256:(\w+)", block[2]))


def main(requirements: str, folder: str) -> None:
    version, hashes = pinned(Path(requirements).read_text())
    name = f"pip-{version}-py3-none-any.whl"
    page = f"{index()}/pip/"
    try:
        with urllib.request.urlopen(page, timeout=60) as answer:
            links = re.findall(r'href="([^"]+)"', answer.read().decode())
        link = next(link for link in links if urllib.parse.urlparse(link).path.rpartition("/")[2] == name)
        with urllib.request.urlopen(urllib.parse.urljoin(page, link), timeout=60) as answer:
            data = answer.read()
    except (OSError, StopIteration) as error:
        sys.exit(
            f"make: {name} cannot be downloaded from the index ({type(error).__name__}); set PIP_INDEX_URL, or install "
            f"python3.{sys.version_info.minor}-venv, then make again"
        )
    if hashlib.sha256(data).hexdigest() not in hashes:
        sys.exit(f"make: {name} from the index does not have the pinned hash; set PIP_INDEX_URL to another index")
    wheel = Path(folder, name)
    wheel.write_bytes(data)
    print(wheel)


if __name__ == "__main__":
    main(*sys.argv[1:])
