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
    example="comface run --set pretrain.epochs=4\ncomface run --config study.yaml --output runs/study",
)
@configured()
@option("--output", "DIR", "folder of the run: report, comparison, log, store (default: runs/PROFILE)", PATH)
@PIPELINE
def run(chosen: Chosen, output: Path | None, pipeline: Path | None) -> int:
    """Run the whole pipeline on this machine, from synthetic faces to a registered model and its report.

    A cluster runs the same pipeline with the same components. To resume an interrupted run, run the same command again;
    finished steps are reused.
    """
    from comface.files import check_output_folder
    from comface.run.local import find_pipeline, one_machine, run_pipeline

    folder = chosen.folder(output)
    check_output_folder(folder)
    config = chosen.configuration({"pretrain": one_machine(chosen.profile)}, output)
    outcome = run_pipeline(find_pipeline(pipeline), config, chosen.overrides(), folder)
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
    import yaml

    values = chosen.configuration().model_dump(mode="json", by_alias=True)
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120), end="")
