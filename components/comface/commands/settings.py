"""`comface config`: prints the configuration from profile, file and overrides, or the list of all fields."""

from __future__ import annotations

from comface.commands.options import configured
from comface.commands.surface import command, flag
from comface.plan.chosen import Chosen


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
