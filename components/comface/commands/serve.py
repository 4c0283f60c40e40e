"""`comface serve`: the page for two photos and the HTTP service behind it."""

from __future__ import annotations

import click

from comface.commands.options import REFERENCE, configured
from comface.commands.surface import command, option
from comface.errors import Preempted
from comface.plan.chosen import Chosen
from comface.runtime.output import say

PORT = click.IntRange(0, 65535)


@command(example="comface serve --model comface@champion --port 8080", needs=("serve",))
@option("--model", "REF", REFERENCE)
@option("--host", "ADDRESS", "address to listen on; 0.0.0.0: all of this machine", default="127.0.0.1")
@option("--port", "PORT", "port of the page and of the service; 0: any free one", PORT, default=8080)
@option("--metrics-port", "PORT", "port of Prometheus metrics; 0: none", PORT, default=0)
@option("--workers", "N", "processes that work on photos (default: one per CPU)", click.IntRange(1, 256))
@option("--queue", "N", "requests that may wait; more are refused with 429", click.IntRange(0, 10_000), default=16)
@configured()
def serve(
    model: str | None, host: str, port: int, metrics_port: int, workers: int | None, queue: int, chosen: Chosen
) -> int:
    """Serve the page for two photos, and the HTTP service behind it.

    The page and the description of the interface (/docs) load nothing from the internet. Photos stay in memory.
    """
    from comface.models.references import resolve_model
    from comface.runtime.cores import usable_cores
    from comface.serve.limits import Limits
    from comface.serve.server import listening, run
    from comface.serve.service import Service
    from comface.serve.work import Recipe
    from comface.store import open_store

    reference, artifact = resolve_model(open_store(chosen.reading().store), model)
    cores = usable_cores()
    count = workers or cores
    limits = Limits(queue=queue)
    recipe = Recipe(f"{artifact.uri}#sha256={artifact.sha256}", reference, max(1, cores // count), limits.pixels)
    service = Service(recipe, count, limits)
    with listening(host, port) as place:
        if metrics_port:
            service.metrics.open(metrics_port)
        try:
            run(service, place)
        except SystemExit:  # raised by the handler of SIGTERM, after the last answer
            say("comface serve: stopped; the requests in work were answered.")
        except KeyboardInterrupt:
            say("comface serve: stopped.")
    return Preempted.exit_code
