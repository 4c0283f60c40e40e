"""`comface submit`: one run of the compiled pipeline on a Kubeflow Pipelines (KFP) server, after every check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.commands.options import ENDPOINT, NAMESPACE, PIPELINE, SENT_BASE, configured
from comface.commands.surface import command, flag, option, together
from comface.plan.chosen import Chosen
from comface.runtime.output import say

if TYPE_CHECKING:
    from comface.submit.connection import Connection
    from comface.submit.package import Package


@dataclass(frozen=True)
class Sent:
    """The options of a run of the pipeline apart from its configuration."""

    parameters: tuple[str, ...]
    experiment: str
    service_account: str
    pipeline: Path | None
    registry: str

    def checked(self, chosen: Chosen, name: str | None) -> tuple[Package, dict[str, Any], dict[str, Any]]:
        """Check the request before it is sent (submit/request.py)."""
        from comface.run.local import find_pipeline
        from comface.submit.request import checked

        words = {"experiment": self.experiment, "account": self.service_account, "name": name}
        given = {what: word for what, word in words.items() if word is not None}
        return checked(chosen, find_pipeline(self.pipeline), self.parameters, given, self.registry)


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
    option(
        "--registry",
        "HOST/PATH",
        "where the nodes find the images, which are built and pushed first; `nodes`: they have them already",
        default="",
    ),
)
SERVER = together("server", Server, ENDPOINT, NAMESPACE)


@command(needs=["cluster"], example="comface submit --profile paper --param store=s3://comface/artifacts --wait")
@configured(store=False, base=SENT_BASE)
@SENT
@option("--name", "NAME", "name of the run (default: the pipeline's name with the time)")
@flag("--wait", "wait until the run ends; the exit codes are those of `comface run`")
@flag("--upload", "upload the pipeline as a new version instead of starting a run")
@SERVER
def submit(chosen: Chosen, sent: Sent, name: str | None, wait: bool, upload: bool, server: Server) -> None:
    """Start a run of the pipeline on a KFP server and print the URL of its page.

    Configuration, data and cluster are checked before anything is sent.
    """
    from comface.submit import runs

    package, values, full = sent.checked(chosen, name)
    connection = server.connect()
    if upload:
        print(_uploaded(connection, package))
        return
    name = name or f"{package.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    run = runs.start_run(connection, package, values, sent.experiment, name, sent.service_account)
    page = runs.run_page(connection, run)
    print(page, flush=True)
    if wait and (state := runs.wait_for_run(connection, run)) != "SUCCEEDED":
        raise runs.failure(full, run, state, page)


def _uploaded(connection: Connection, package: Package) -> str:
    """Upload the pipeline, and return the URL of its page."""
    from comface import __version__
    from comface.submit.runs import upload

    version = f"{__version__}-{package.sha256[:12]}"
    pipeline, new = upload(connection, package, version)
    say(f"{package.name} {version} {'uploaded' if new else 'is already uploaded'}")
    return f"{connection.page}/#/pipelines/details/{pipeline}"
