"""What a run on a KFP server is started with: the pipeline, its arguments and names, checked before anything is sent.

In: a chosen configuration, and `name=value` words for other parameters. Out: typed arguments, as the pipeline declares.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comface.config.credentials import override_values, refuse_credentials
from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.plan.checks import check_configuration
from comface.plan.chosen import Chosen
from comface.plan.configuration import resolve
from comface.plan.from_parameters import configure
from comface.plan.parameters import Parameters, override_lines, override_mapping
from comface.submit.package import Package, read_package, split_arguments, typed_arguments, with_defaults

ON_THE_NODES = "nodes"
"""As a registry: the nodes have the images already."""
LONGEST_WORD = 100
"""Of what KFP shows as the name of a run, a schedule or an experiment."""


def checked(
    chosen: Chosen, pipeline: Path, parameters: Sequence[str], words: Mapping[str, str], registry: str = ""
) -> tuple[Package, dict[str, Any], dict[str, Any]]:
    """The package, the arguments to send, and all of them with the defaults. `words`: the names that KFP gets;
    `registry`: where the nodes find the images. Raises
    ConfigurationError for a parameter or a configuration that the run's first step would refuse."""
    for texts in (override_values(parameters), override_values(chosen.overrides()), words):
        refuse_credentials(texts)
    _check_words(words)
    package = read_package(pipeline, "" if registry == ON_THE_NODES else registry)
    known = {field.name for field in dataclasses.fields(Parameters)}
    given = split_arguments(parameters)
    try:
        values = _values(package, chosen, given)
        full = with_defaults(package, values)
        config = configure(Parameters(**{name: value for name, value in full.items() if name in known}))
    except ConfigurationError:
        if chosen.file:  # if one of its fields is wrong, the error names its line
            dataclasses.replace(chosen, profile_option=_profile(package, chosen, given)).resolve()
        raise
    check_configuration(config)
    if config.store.startswith("file:"):
        raise ConfigurationError(
            f"The store {config.store} would be on each pod's own disk, where no other step finds it; "
            "give --param store=s3://bucket/prefix."
        )
    if registry != ON_THE_NODES:
        _check_images(package)
    return package, values, full


def _check_images(package: Package) -> None:
    nowhere = [image for image in package.images() if "/" not in image]
    if nowhere:
        raise ConfigurationError(
            f"The pipeline names the image '{nowhere[0]}' without a registry, so the nodes cannot pull it; build and "
            "push the images first (make images REGISTRY=host/path), then give --registry host/path (--registry nodes "
            "if every node has them)."
        )


def _values(package: Package, chosen: Chosen, given: dict[str, str]) -> dict[str, Any]:
    """The arguments: those of --param, and what the configuration's options mean as parameters. `given` beats what a
    file says."""
    values = typed_arguments(package, given)
    options = {"profile": chosen.profile_option, "overrides": override_mapping(chosen.overrides(without=["store"]))}
    for name, value in options.items():
        if value and name in given:
            raise ConfigurationError(f"The parameter '{name}' is given twice, as an option and with --param; drop one.")
        if value:
            values[name] = value
    if chosen.file:
        values = {name: v for name in ("profile", "store") if (v := chosen.file.values.get(name))} | values
    if "overrides" in values:  # what KFP would not hand on unchanged goes as text
        values["overrides"] = override_mapping(override_lines(values["overrides"]))
    return values | _sizes_of_profile(with_defaults(package, values), given)


def _profile(package: Package, chosen: Chosen, given: Mapping[str, str]) -> str | None:
    """The profile of the run; None if the pipeline has no such parameter."""
    named = chosen.profile_option or given.get("profile") or (chosen.file.profile if chosen.file else None)
    return named or package.parameters.get("profile", {}).get("defaultValue")


def _sizes_of_profile(full: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    """`nodes` and `gpus_per_node` if the profile's differ from the pipeline's defaults. These are the paper's: a
    laptop's run would request 32 GPUs."""
    if "profile" not in full:
        return {}
    own = resolve(full["profile"], override_lines(full.get("overrides", {}))).pretrain
    sizes = {"nodes": own.nodes, "gpus_per_node": own.gpus_per_node}
    return {name: value for name, value in sizes.items() if name not in given and full.get(name, value) != value}


def _check_words(words: Mapping[str, str]) -> None:
    """What a server would take, and a pod or a page not."""
    for what, text in words.items():
        if what == "account":
            if text and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", text):
                raise ConfigurationError(
                    f"--service-account {quoted(text)} is not the name of a Kubernetes account; use lowercase letters, "
                    "digits, '-' and '.', as `kubectl get serviceaccounts` shows it."
                )
        elif not 0 < len(text) <= LONGEST_WORD or not text.isprintable() or text != text.strip():
            raise ConfigurationError(
                f"The {what} {quoted(text)} is not one that KFP can show; use 1 to {LONGEST_WORD} printable "
                "characters, without spaces at the ends."
            )
