"""`comface run` runs the compiled pipeline on this machine; `comface config` prints the configuration of such a run."""

from __future__ import annotations

from pathlib import Path

from comface.commands.options import PIPELINE, configured
from comface.commands.surface import PATH, command, flag, option
from comface.errors import GateRefused
from comface.plan.chosen import Chosen
from comface.runtime.output import say


@command(
    needs=["cluster", "train"],
    example="comface run --set pretrain.epochs=4\ncomface run --config study.yaml",
)
@configured()
@option(
    "--output",
    "DIR",
    "folder of the run: report, comparison, log, store (default: runs/PROFILE; with --config FILE: a new folder "
    "runs/FILE-1, runs/FILE-2, …)",
    PATH,
)
@PIPELINE
def run(chosen: Chosen, output: Path | None, pipeline: Path | None) -> int:
    """Run the whole pipeline on this machine, from synthetic faces to a registered model and its report.

    A cluster runs the same pipeline with the same components. To resume an interrupted run, run the same command again;
    finished steps are reused. A --config file with data of your own is evaluated on the backbone at hand (your newest
    model, else the one that ships with the package), without pre-training; `--set pretrain.reuse=""` pre-trains.
    """
    from comface.files import check_output_folder
    from comface.plan.configuration import config_yaml
    from comface.run.folders import check_apart, study_folder
    from comface.run.local import find_pipeline, run_pipeline
    from comface.run.one_machine import one_machine

    folder = chosen.folder(output)
    check_output_folder(folder)
    extra = {"pretrain": one_machine(chosen.profile)}
    more = chosen.of_a_study(chosen.configuration(extra, output))
    config = chosen.configuration(extra, output, more)
    if chosen.file and not output:
        folder = study_folder(chosen.file.path.stem, config_yaml(config))
        check_output_folder(folder)
    check_apart(folder, config)
    outcome = run_pipeline(find_pipeline(pipeline), config, [*chosen.overrides(), *more], folder)
    say("")
    for line in outcome.lines():
        say(line)
    return 0 if outcome.model else GateRefused.exit_code


@command(example="comface config --profile laptop > study.yaml\ncomface config --config study.yaml")
@configured()
@flag("--fields", "list all fields with default and description (Markdown)")
def config(chosen: Chosen, fields: bool) -> None:
    """Print the configuration from profile, file and overrides as YAML, or the list of all fields."""
    if fields:
        from comface.plan.fields_page import fields_page

        print(fields_page(), end="")
        return
    from comface.plan.configuration import config_yaml

    print(config_yaml(chosen.configuration(more=chosen.of_a_study(chosen.configuration()))), end="")
