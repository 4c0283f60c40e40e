"""A configuration as a person chooses it: a profile, changed by a file, changed by single fields.

In: what the options --profile, --config, --set and --store say. Out: the configuration of a run, the overrides that the
pipeline gets, and the folder and store of a run on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line loads this module at once
    from comface.plan.config_file import ConfigFile
    from comface.plan.configuration import RunConfig

PRETRAINING = {"pretrain", "synthesize", "shard", "screening", "variants", "seeds", "study"}
"""Sections that decide the pre-training."""


@dataclass(frozen=True)
class Chosen:
    profile_option: str | None
    file: ConfigFile | None
    sets: tuple[str, ...]
    store: str | None = None

    @property
    def profile(self) -> str:
        return self.profile_option or (self.file.profile if self.file else None) or "laptop"

    def overrides(self, without: Iterable[str] = ()) -> list[str]:
        """`field=value` lines: those of the file, except for its fields `without`, then those of --set, which win."""
        dropped = {*without, *(["store"] if self.store else [])}
        return [*(self.file.overrides(dropped) if self.file else ()), *self.sets]

    def of_a_study(self, config: RunConfig) -> list[str]:
        """Overrides for a file with data of one's own: the backbone at hand instead of a pre-training, unless the file
        or an option says how to pre-train, and a model of the file's name."""
        from comface.plan.consistency import dataset_names

        if not self.file or not any(config.data[name].uri for name in dataset_names(config)):
            return []
        said = {line.partition("=")[0].strip() for line in self.overrides()}
        trains = any(field.partition(".")[0] in PRETRAINING for field in said)
        named = self.profile_option or self.file.profile
        reuse = [] if trains or named else ["pretrain.reuse=at-hand"]
        name = re.sub(r"[^a-z0-9]+", "-", self.file.path.stem.casefold()).strip("-")[:60]
        own = [] if not name or any(field.startswith("register.name") for field in said) else [f"register.name={name}"]
        return [*reuse, *own]

    def folder(self, output: Path | None = None) -> Path:
        return (output or Path("runs") / self.profile).absolute()

    def configuration(
        self, extra: Mapping[str, Any] | None = None, output: Path | None = None, more: Iterable[str] = ()
    ) -> RunConfig:
        """As `resolve`, with a store on this machine if none is chosen."""
        return self.resolve({"store": self.store or (self.folder(output) / "store").as_uri(), **(extra or {})}, more)

    def reading(self) -> RunConfig:
        """As `configuration`, for a command that only reads the store: the store exists, unless it is the default one.
        Raises ConfigurationError."""
        from comface.store import open_named

        config = self.configuration()
        if self.store or config.store != (self.folder() / "store").as_uri():
            open_named(config.store)
        return config

    def resolve(self, extra: Mapping[str, Any] | None = None, more: Iterable[str] = ()) -> RunConfig:
        """`extra` comes before the overrides, `more` after. From here on, this process trusts the keys that the
        configuration names. Raises ConfigurationError."""
        from comface.models.signing import trust
        from comface.plan.configuration import resolve

        places = self.file.places([*self.sets, *more]) if self.file else {}
        config = resolve(self.profile, [*self.overrides(), *more], extra, places)
        trust(config.registry.trusted_keys)
        return config
