"""Options that several commands share, among them --profile, --config, --set and --store as one argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comface.commands.surface import PATH, F, Names, flag, option, together
from comface.plan.chosen import Chosen

if TYPE_CHECKING:
    from comface.plan.config_file import ConfigFile

_NEWEST = "a URI or a path (default: comface@champion, else the newest comface"
REFERENCE = f"NAME, NAME@v3, NAME@champion, `shipped`, {_NEWEST}; in a store without models, `shipped`)"
REGISTERED = f"NAME, NAME@v3, NAME@champion, {_NEWEST})"
"""For commands that take no model from the package by default: they sign or verify what is in the store."""


def _methods() -> Iterable[str]:
    from comface.methods import METHODS

    return METHODS


METHOD = Names(_methods, closed=False)
METHOD_HELP = "method that computes features of faces; or timm:NAME, torchvision:NAME, module:function"


BACKBONE = option("--backbone", "REF", f"backbone or model, for the method comface: {REFERENCE}")


def _profiles() -> Iterable[str]:
    from comface.plan.configuration import profiles

    return profiles()


def _read_file(_: click.Context, __: click.Parameter, path: Path | None) -> ConfigFile | None:
    if path is None:
        return None
    from comface.plan.config_file import read_config

    return read_config(path)


CONFIGURATION = (
    option(
        "--config file",
        "FILE.yaml",
        "YAML file with the fields that differ from the profile (example in docs/data.md)",
        PATH,
        callback=_read_file,
    ),
    option(
        "--set sets",
        "FIELD=VALUE",
        "override one field, e.g. pretrain.epochs=4; may be repeated (all fields: docs/configuration.md)",
        multiple=True,
    ),
)
STORE = option(
    "--store",
    "URI",
    "object store for artifacts, a folder or s3://bucket/prefix (default: the folder runs/PROFILE/store)",
)


def configured(store: bool = True, base: str = "laptop") -> Callable[[F], F]:
    """The four options that choose a configuration, as one argument `chosen`. `base`: the profile if none is named."""
    profile = option(
        "--profile profile_option",
        None,
        f"base of the configuration (default: the profile in the --config file, else {base})",
        Names(_profiles, closed=False),
    )
    return together("chosen", Chosen, profile, *CONFIGURATION, *([STORE] if store else []))


SENT_BASE = "that of the pipeline: paper"
"""`base` of the commands that start runs on a server: if no profile is named, the pipeline's default applies."""


AS_JSON = flag("--json as_json", "print JSON")
PIPELINE = option("--pipeline", "FILE", "compiled pipeline (default: the one in the package)", PATH)
ENDPOINT = option("--endpoint", "URL", "URL of the KFP API (default: KFP_ENDPOINT; in a pod, the URL of the cluster)")
NAMESPACE = option("--namespace", "NAME", "your namespace, if KFP has several users (default: KFP_NAMESPACE)")


def output_option(metavar: str, text: str) -> Callable[[F], F]:
    return option("--output", metavar, text, PATH, required=True)
