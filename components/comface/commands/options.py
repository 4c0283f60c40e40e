"""Options that several commands share, and what they mean together: --profile, --config, --set, --store, and others.

In: words of the command line. Out: the configuration of a run, and where it keeps its artifacts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from comface.commands.surface import PATH, F, Names, flag, option, together

if TYPE_CHECKING:
    from comface.plan.config_file import ConfigFile
    from comface.plan.configuration import RunConfig

REFERENCE = "NAME, NAME@v3, NAME@champion, a URI or a path (default: comface@champion, else the newest comface)"


@dataclass(frozen=True)
class Chosen:
    """A configuration as the command line chooses it: a profile, changed by a file, changed by single fields."""

    profile_option: str | None
    file: ConfigFile | None
    sets: tuple[str, ...]
    store: str | None = None

    @property
    def named_profile(self) -> str | None:
        """That of --profile, else the one that the file names, if either does."""
        return self.profile_option or (self.file.profile if self.file else None)

    @property
    def profile(self) -> str:
        return self.named_profile or "laptop"

    def overrides(self, without: Iterable[str] = ()) -> list[str]:
        """`field=value` lines: those of the file, except for its fields `without`, then those of --set, which win."""
        dropped = {*without, *(["store"] if self.store else [])}
        return [*(self.file.overrides(dropped) if self.file else ()), *self.sets]

    def folder(self, output: Path | None = None) -> Path:
        return (output or Path("runs") / self.profile).absolute()

    def default_store(self, output: Path | None = None) -> str:
        return (self.folder(output) / "store").as_uri()

    def configuration(
        self, extra: Mapping[str, Any] | None = None, output: Path | None = None, more: Iterable[str] = ()
    ) -> RunConfig:
        """With a store in any case. `extra` comes before the overrides, `more` after. Raises ConfigurationError."""
        return self.resolve({"store": self.store or self.default_store(output), **(extra or {})}, more)

    def resolve(self, extra: Mapping[str, Any] | None = None, more: Iterable[str] = ()) -> RunConfig:
        from comface.plan.configuration import resolve

        places = self.file.places([*self.sets, *more]) if self.file else {}
        return resolve(self.profile, [*self.overrides(), *more], extra, places)


def _methods() -> Iterable[str]:
    from comface.methods import METHODS

    return METHODS


METHOD = Names(_methods, closed=False)
METHOD_HELP = "what turns faces into features; or timm:NAME, module:function"


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
        "--profile profile_option",
        None,
        "where the configuration starts from (default: the one that --config names, else laptop)",
        Names(_profiles, closed=False),
    ),
    option(
        "--config file",
        "FILE.yaml",
        "YAML file of fields that differ from the profile (docs/data.md shows one)",
        PATH,
        callback=_read_file,
    ),
    option(
        "--set sets",
        "FIELD=VALUE",
        "override one field, e.g. pretrain.epochs=4; may be repeated (docs/configuration.md lists all)",
        multiple=True,
    ),
)
STORE = option(
    "--store",
    "URI",
    "object store of artifacts, a folder or s3://bucket/prefix (default: the folder runs/PROFILE/store)",
)


def configured(store: bool = True) -> Callable[[F], F]:
    """The four options that choose a configuration, as one argument `chosen`."""
    return together("chosen", Chosen, *CONFIGURATION, *([STORE] if store else []))


AS_JSON = flag("--json as_json", "print JSON")
PIPELINE = option("--pipeline", "FILE", "compiled pipeline (default: the one in the package)", PATH)
ENDPOINT = option("--endpoint", "URL", "URL of the KFP API (default: KFP_ENDPOINT; in a pod, that of the cluster)")
NAMESPACE = option("--namespace", "NAME", "your namespace, where KFP has several users (default: KFP_NAMESPACE)")


def output_option(metavar: str, text: str) -> Callable[[F], F]:
    return option("--output", metavar, text, PATH, required=True)
