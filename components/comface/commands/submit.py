"""`comface submit` and `comface schedule`: runs of the compiled pipeline on a Kubeflow Pipelines (KFP) server."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.config.names import quoted
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.plan.configuration import profiles, resolve
from comface.plan.parameters import override_lines, override_mapping
from comface.runtime.progress import say

if TYPE_CHECKING:
    from comface.submit.connection import Connection
    from comface.submit.package import Package
    from comface.submit.schedules import Schedule

LONGEST_WORD = 100
"""Of what KFP shows as the name of a run, a schedule or an experiment."""


def add_commands(commands: Any) -> None:
    text = "start a run of the pipeline on a KFP server; prints its page"
    parser = commands.add_parser("submit", help=text, description=f"{text[0].upper()}{text[1:]}.")
    _add_pipeline(parser)
    parser.add_argument("--name", metavar="NAME", help="name of the run (default: the pipeline's, with the time)")
    parser.add_argument("--wait", action="store_true", help="wait for the run's end; exit code as `comface run`")
    parser.add_argument(
        "--upload", action="store_true", help="start nothing: put the pipeline into the UI, as a new version"
    )
    _add_server(parser)
    parser.set_defaults(action=submit)
    schedule = commands.add_parser(
        "schedule",
        help="recurring runs: create, list, pause, resume, delete",
        description="Recurring runs, one per name (docs/scheduling.md).",
    )
    verbs = schedule.add_subparsers(metavar="VERB", required=True)
    creating = _verb(verbs, "create", "keep a recurring run; one of that name is replaced, no tick missed or doubled")
    creating.add_argument("name", metavar="NAME", help="name of the schedule")
    creating.add_argument(
        "--cron", required=True, metavar="CRON", help="six fields, seconds first, UTC: '0 0 2 * * 1' is Mondays at 2:00"
    )
    _add_pipeline(creating)
    _add_server(creating)
    creating.set_defaults(action=create_schedule)
    listing = _verb(verbs, "list", "all schedules, with their next tick")
    listing.add_argument("--json", action="store_true", help="print JSON")
    _add_server(listing)
    listing.set_defaults(action=list_schedules)
    for verb, what in (
        ("pause", "start no more runs; one that is under way goes on"),
        ("resume", "start runs again; the latest tick that passed meanwhile is made up for"),
        ("delete", "delete a schedule, but never a run that is under way"),
    ):
        changing = _verb(verbs, verb, what)
        changing.add_argument("name", metavar="NAME", help="name of the schedule")
        _add_server(changing)
        changing.set_defaults(action=change_schedule, verb=verb)


def _verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser


def _add_pipeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", metavar="NAME", help=f"where the configuration starts from: {', '.join(profiles())}"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override one field, e.g. pretrain.epochs=4; may be given again (docs/configuration.md lists all)",
    )
    parser.add_argument(
        "--param",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the pipeline, e.g. nodes=2 or store=s3://bucket/prefix; may be given again",
    )
    parser.add_argument("--experiment", default="comface", metavar="NAME", help="experiment of its runs")
    parser.add_argument(
        "--service-account", default="", metavar="NAME", help="Kubernetes account of its pods (default: the server's)"
    )
    parser.add_argument(
        "--pipeline", type=Path, metavar="FILE", help="compiled pipeline (default: the one that the package brings)"
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--endpoint", metavar="URL", help="the KFP API (default: KFP_ENDPOINT; in a pod, the cluster's own)"
    )
    parser.add_argument(
        "--namespace", metavar="NAME", help="your namespace, where KFP has several users (default: KFP_NAMESPACE)"
    )


def submit(arguments: argparse.Namespace) -> int | None:
    from comface.submit.runs import run_page, start_run, upload, wait_for_run

    package, values, full = _checked(arguments)
    connection = _connect(arguments)
    if arguments.upload:
        from comface import __version__

        version = f"{__version__}-{package.sha256[:12]}"
        pipeline, new = upload(connection, package, version)
        say(f"{package.name} {version} {'is uploaded' if new else 'was there already'}")
        print(f"{connection.page}/#/pipelines/details/{pipeline}")
        return None
    name = arguments.name or f"{package.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    run = start_run(connection, package, values, arguments.experiment, name, arguments.service_account)
    page = run_page(connection, run)
    print(page, flush=True)
    if arguments.wait:
        state = wait_for_run(connection, run)
        if state != "SUCCEEDED":
            raise _failure(full, run, state, page)
    return None


def _failure(full: dict[str, Any], run: str, state: str, page: str) -> ComfaceError:
    """The sentence and the code that the failed step recorded, where the store can be read from here."""
    from comface.execution import recorded_failure
    from comface.plan.from_parameters import configure
    from comface.store import open_store

    try:
        found = recorded_failure(open_store(configure(full["profile"], "", full["store"]).store), run)
    except (ComfaceError, KeyError):
        found = None
    if found is None:
        return TryAgain(f"The run ended as {state.lower()}; {page} says why.")
    error = ComfaceError(found[0])
    error.exit_code = found[1]
    return error


def create_schedule(arguments: argparse.Namespace) -> None:
    from comface.submit.cron import checked_cron
    from comface.submit.schedules import Wanted, create

    now = datetime.now(UTC)
    cron = checked_cron(arguments.cron, now)
    package, values, _ = _checked(arguments)
    wanted = Wanted(arguments.name, cron, package, values, arguments.experiment, arguments.service_account)
    done = create(_connect(arguments), wanted)
    say(f"{done}; next tick {cron.next(datetime.now(UTC)):%a %Y-%m-%d %H:%M:%S} UTC")


def list_schedules(arguments: argparse.Namespace) -> None:
    from comface.submit.schedules import schedules

    found, now = schedules(_connect(arguments)), datetime.now(UTC)
    if arguments.json:
        print(json.dumps([_row(schedule, now) for schedule in found], indent=1))
        return
    for row in (_row(schedule, now) for schedule in found):
        values = " ".join(f"{name}={_shown(value)}" for name, value in row["parameters"].items())
        when = f"next {row['next']}" if row["next"] else "paused"
        print(f"{row['name']:<20} {row['cron']:<18} {when:<28} {values}".rstrip())
    if not found:
        say("there is no schedule")
    twice = {s.name for s in found if sum(o.enabled and o.name == s.name for o in found) > 1}
    for name in sorted(twice):
        say(f"{name} would tick twice; run its `comface schedule create` again")


def change_schedule(arguments: argparse.Namespace) -> None:
    from comface.submit import schedules

    actions: dict[str, Callable[[Connection, str], str]]
    actions = {"pause": schedules.pause, "resume": schedules.resume, "delete": schedules.delete}
    say(actions[arguments.verb](_connect(arguments), arguments.name))


def _row(schedule: Schedule, now: datetime) -> dict[str, Any]:
    tick = schedule.next(now)
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "enabled": schedule.enabled,
        "next": f"{tick:%Y-%m-%d %H:%M:%S} UTC" if tick else None,
        "parameters": schedule.parameters,
        "id": schedule.id,
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _sizes_of_profile(full: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    """`nodes` and `gpus_per_node` where the profile has others than the pipeline's defaults, which are the paper's: a
    laptop's run would ask for 32 GPUs."""
    if "profile" not in full:
        return {}
    own = resolve(full["profile"], override_lines(full.get("overrides", {}))).pretrain
    sizes = {"nodes": own.nodes, "gpus_per_node": own.gpus_per_node}
    return {name: value for name, value in sizes.items() if name not in given and full.get(name, value) != value}


def _connect(arguments: argparse.Namespace) -> Connection:
    from comface.submit.connection import connect

    return connect(arguments.endpoint, arguments.namespace)


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


def _checked(arguments: argparse.Namespace) -> tuple[Package, dict[str, Any], dict[str, Any]]:
    """The package, the arguments to send, and all of them with the defaults. Raises ConfigurationError for a parameter
    or a configuration that the run's first step would refuse."""
    from comface.config.credentials import override_values, refuse_credentials
    from comface.plan.checks import check_configuration
    from comface.plan.from_parameters import configure
    from comface.run.local import find_pipeline
    from comface.submit.package import read_package, split_arguments, typed_arguments, with_defaults

    words = {"name": arguments.name, "experiment": arguments.experiment, "account": arguments.service_account}
    given = {what: word for what, word in words.items() if word is not None}
    refuse_credentials({**override_values([*arguments.parameters, *arguments.overrides]), **given})
    _check_words(given)
    package = read_package(find_pipeline(arguments.pipeline))
    given = split_arguments(arguments.parameters)
    values = typed_arguments(package, given)
    options = {"profile": arguments.profile, "overrides": override_mapping(arguments.overrides)}
    for name, value in options.items():
        if value and name in given:
            raise ConfigurationError(f"The parameter '{name}' is given twice, as an option and with --param; drop one.")
        if value:
            values[name] = value
    if "overrides" in values:  # what KFP would not hand on unchanged goes as text
        values["overrides"] = override_mapping(override_lines(values["overrides"]))
    values |= _sizes_of_profile(with_defaults(package, values), given)
    full = with_defaults(package, values)
    known = inspect.signature(configure).parameters
    config = configure(**{name: value for name, value in full.items() if name in known})
    check_configuration(config)
    if config.store.startswith("file:"):
        raise ConfigurationError(
            f"The store {config.store} would be on each pod's own disk, where no other step finds it; "
            "give --param store=s3://bucket/prefix."
        )
    return package, values, full
