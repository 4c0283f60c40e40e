"""Options that every command with a configuration shares: --profile, --set, --store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comface.plan.configuration import RunConfig, profiles, resolve


def add_configuration(parser: argparse.ArgumentParser, store: bool = True) -> None:
    parser.add_argument(
        "--profile",
        default="laptop",
        metavar="NAME",
        help=f"where the configuration starts from: {', '.join(profiles())}",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override one field, e.g. pretrain.epochs=4; may be given again (docs/configuration.md lists all)",
    )
    if store:
        parser.add_argument(
            "--store",
            metavar="URI",
            help="object store of artifacts, a folder or s3://bucket/prefix (default: the folder runs/PROFILE/store)",
        )


def configuration(arguments: argparse.Namespace, extra: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration that the options mean; `extra` comes before the overrides. Raises ConfigurationError."""
    store = getattr(arguments, "store", None) or default_store(arguments)
    return resolve(arguments.profile, arguments.overrides, {"store": store, **(extra or {})})


def output_folder(arguments: argparse.Namespace) -> Path:
    return (getattr(arguments, "output", None) or Path("runs") / arguments.profile).absolute()


def default_store(arguments: argparse.Namespace) -> str:
    return (output_folder(arguments) / "store").as_uri()
