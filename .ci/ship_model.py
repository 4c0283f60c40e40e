"""Puts the model of a finished run into the package, where it is the default until a user has a model of their own.

In: the folder of a run (default: runs/laptop). Out: the champion of its store, else its newest version, file by file,
with its signatures if there are any, in components/comface/shipped/model/; and its sha256 in
components/comface/models/shipped.py. A model that was fitted on data of real people is refused.
"""

import re
import shutil
import sys
from pathlib import Path

from comface.artifacts.manifest import PIN as PINNED
from comface.artifacts.manifest import Artifact
from comface.errors import ComfaceError, ConfigurationError
from comface.models import shipped
from comface.models.format import read_tasks
from comface.models.references import default_model
from comface.models.registry import Registry
from comface.models.signing import FOLDER as SIGNATURES
from comface.store import open_store

SOURCE = Path(shipped.__file__)
MOST_BYTES = 5_000_000
"""The package and every clone of the repository carry each shipped model."""


def ship(run: Path, folder: Path = shipped.FOLDER, source: Path = SOURCE) -> Artifact:
    """Copy the model. Raises ConfigurationError for a model that must not ship."""
    store = open_store(str(run / "store"))
    version = default_model(store)
    model = Registry(store, version.name).open(version)
    if real := [name for name, task in read_tasks(model).items() if not task.rehearsal]:
        raise ConfigurationError(
            f"The model {version.reference} was fitted on real data ({', '.join(real)}); ship a model of rehearsals "
            "only."
        )
    size_bytes = sum(entry.size_bytes for entry in model.manifest.objects.values())
    if size_bytes > MOST_BYTES:
        raise ConfigurationError(
            f"The model {version.reference} has {size_bytes / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.1f} MB; "
            "ship a smaller one."
        )
    pin = f"{model.address}{PINNED}{model.sha256}"
    place = folder / model.address
    content = {name: model.read(name) for name in model.manifest.objects}
    content |= {name: model.store.read(name) for name in ("manifest.json", "made.json", *model.store.keys(SIGNATURES))}
    shutil.rmtree(folder / "model", ignore_errors=True)
    for name, data in content.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    source.write_text(re.sub(r'^PIN = ".*"$', f'PIN = "{pin}"', source.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    print(f"{version.reference} of {run} ships with the package: {size_bytes / 1e6:.1f} MB, {pin}")
    return model


if __name__ == "__main__":
    try:
        ship(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/laptop"))
    except ComfaceError as error:
        sys.exit(f"ship_model: {error}")
