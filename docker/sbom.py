"""The software bill of materials of the image that this runs in, as CycloneDX 1.5 JSON on standard output.

In: the Python packages' metadata, Debian's list of packages, the provenance beside each baked model. Out: one component
for each, with version, licence, package URL and, for models, the sha256. Standard library only: nothing is installed
into an image to describe it. The same content gives the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")
MODELS = Path(sys.prefix) / "share" / "comface"
OWN = "comface"


def licences(text: str) -> dict[str, Any]:
    return {"licenses": [{"license": {"name": text}}]} if text else {}


def python_packages() -> Iterator[dict[str, Any]]:
    for package in metadata.distributions():
        about = package.metadata
        name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
        classified = [entry.rpartition(" :: ")[2] for entry in about.get_all("Classifier", []) if "License ::" in entry]
        stated = (about.get_all("License-Expression") or about.get_all("License") or [""])[0].strip()
        licence = "; ".join(classified) if not stated or "\n" in stated else stated
        yield {
            "type": "library",
            "name": name,
            "version": package.version,
            "purl": f"pkg:pypi/{name}@{quote(package.version)}",
            **licences(licence),
        }


def debian_packages(status: Path = DPKG) -> Iterator[dict[str, Any]]:
    for paragraph in status.read_text().split("\n\n") if status.is_file() else ():
        field = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", paragraph, re.MULTILINE))
        if field.get("Status", "").endswith(" installed"):
            name, version, machine = field["Package"], field["Version"], field["Architecture"]
            yield {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={machine}",
            }


def models(folder: Path = MODELS) -> Iterator[dict[str, Any]]:
    for path in folder.glob("*.json"):
        provenance = json.loads(path.read_text())
        yield {
            "type": "machine-learning-model",
            "name": provenance["file"],
            "version": provenance["version"],
            "description": f"{provenance['member']} of {provenance['package']}; trained on {provenance['trained_on']}",
            "hashes": [{"alg": "SHA-256", "content": provenance["sha256"]}],
            **licences(provenance["licence"]),
        }


def bill() -> dict[str, Any]:
    found = [*python_packages(), *debian_packages(), *models()]
    parts = {component.get("purl", component["name"]): component for component in found}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": OWN, "version": metadata.version(OWN)}},
        "components": [parts[key] for key in sorted(parts)],
    }


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=1, sort_keys=True)
    print()
