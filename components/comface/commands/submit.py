"""`comface submit`: one run of the compiled pipeline on a Kubeflow Pipelines (KFP) server, after every check."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.commands.options import ENDPOINT, NAMESPACE, PIPELINE, Chosen, configured
from comface.commands.surface import command, flag, option, together
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.runtime.output import say

if TYPE_CHECKING:
    from comface.submit.connection import Connection
    from comface.submit.package import Package

LONGEST_WORD = 100
"""Of what KFP shows as the name of a run, a schedule or an experiment."""


@dataclass(frozen=True)
class Sent:
    """What a run of the pipeline is made of, besides its configuration."""

    parameters: tuple[str, ...]
    experiment: str
    service_account: str
    pipeline: Path | None


@dataclass(frozen=True)
class Server:
    endpoint: str | None
    namespace: str | None

    def connect(self) -> Connection:
        from comface.submit.connection import connect

        return connect(self.endpoint, self.namespace)


SENT = together(
    "sent",
    Sent,
    option(
        "--param parameters",
        "NAME=VALUE",
        "a parameter of the pipeline, e.g. nodes=2 or store=s3://bucket/prefix; may be repeated",
        multiple=True,
    ),
    option("--experiment", "NAME", "experiment of the runs", default="comface"),
    option("--service-account", "NAME", "Kubernetes service account of the pods (default: the server's)", default=""),
    PIPELINE,
)
SERVER = together("server", Server, ENDPOINT, NAMESPACE)


@command(needs=["cluster"], example="comface submit --profile paper --param store=s3://comface/artifacts --wait")
@configured(store=False)
@SENT
@option("--name", "NAME", "name of the run (default: the pipeline's name with the time)")
@flag("--wait", "wait until the run ends; exit code as of `comface run`")
@flag("--upload", "start nothing; upload the pipeline as a new version")
@SERVER
def submit(chosen: Chosen, sent: Sent, name: str | None, wait: bool, upload: bool, server: Server) -> None:
    """Start a run of the pipeline on a KFP server and print its page.

    Everything that can be known is checked before anything is sent.
    """
    from comface.submit import runs

    package, values, full = checked(chosen, sent, name)
    connection = server.connect()
    if upload:
        print(_uploaded(connection, package))
        return
    name = name or f"{package.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    run = runs.start_run(connection, package, values, sent.experiment, name, sent.service_account)
    page = runs.run_page(connection, run)
    print(page, flush=True)
    if wait and (state := runs.wait_for_run(connection, run)) != "SUCCEEDED":
        raise _failure(full, run, state, page)


def _uploaded(connection: Connection, package: Package) -> str:
    """The page of the pipeline."""
    from comface import __version__
    from comface.submit.runs import upload

    version = f"{__version__}-{package.sha256[:12]}"
    pipeline, new = upload(connection, package, version)
    say(f"{package.name} {version} {'is uploaded' if new else 'was there already'}")
    return f"{connection.page}/#/pipelines/details/{pipeline}"


def _failure(full: dict[str, Any], run: str, state: str, page: str) -> ComfaceError:
    """The error that the failed step recorded, where the store can be read from here."""
    from comface.execution import recorded_failure
    from comface.plan.from_parameters import configure
    from comface.plan.parameters import Parameters
    from comface.store import open_store

    try:
        found = recorded_failure(open_store(configure(Parameters(full["profile"], store=full["store"])).store), run)
    except (ComfaceError, KeyError):
        found = None
    return found or TryAgain(f"The run ended as {state.lower()}; {page} says why.")


def checked(chosen: Chosen, sent: Sent, name: str | None) -> tuple[Package, dict[str, Any], dict[str, Any]]:
    """The package, the arguments to send, and all of them with the defaults. Raises ConfigurationError for a parameter
    or a configuration that the run's first step would refuse."""
    from comface.config.credentials import override_values, refuse_credentials
    from comface.plan.checks import check_configuration
    from comface.plan.from_parameters import configure
    from comface.plan.parameters import Parameters
    from comface.run.local import find_pipeline
    from comface.submit.package import read_package, split_arguments, with_defaults

    words = {"experiment": sent.experiment, "account": sent.service_account, **({} if name is None else {"name": name})}
    for given in (override_values(sent.parameters), override_values(chosen.overrides()), words):
        refuse_credentials(given)
    _check_words(words)
    package = read_package(find_pipeline(sent.pipeline))
    known = {field.name for field in dataclasses.fields(Parameters)}
    try:
        values = _values(package, chosen, split_arguments(sent.parameters))
        full = with_defaults(package, values)
        config = configure(Parameters(**{name: value for name, value in full.items() if name in known}))
    except ConfigurationError:
        if chosen.file:
            chosen.resolve()  # where a field of the file is wrong, this says its line
        raise
    check_configuration(config)
    if config.store.startswith("file:"):
        raise ConfigurationError(
            f"The store {config.store} would be on each pod's own disk, where no other step finds it; "
            "give --param store=s3://bucket/prefix."
        )
    return package, values, full


def _values(package: Package, chosen: Chosen, given: dict[str, str]) -> dict[str, Any]:
    """The arguments: those of --param, and what the configuration's options mean as parameters. `given` beats what a
    file says."""
    from comface.plan.parameters import override_lines, override_mapping
    from comface.submit.package import typed_arguments, with_defaults

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


def _sizes_of_profile(full: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    """`nodes` and `gpus_per_node` where the profile has others than the pipeline's defaults, which are the paper's: a
    laptop's run would ask for 32 GPUs."""
    from comface.plan.configuration import resolve
    from comface.plan.parameters import override_lines

    if "profile" not in full:
        return {}
    own = resolve(full["profile"], override_lines(full.get("overrides", {}))).pretrain
    sizes = {"nodes": own.nodes, "gpus_per_node": own.gpus_per_node}
    return {name: value for name, value in sizes.items() if name not in given and full.get(name, value) != value}


def _check_words(words: Mapping[str, str]) -> None:
    """What a server would take, and a pod or a page not."""
    from comface.config.names import quoted

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
