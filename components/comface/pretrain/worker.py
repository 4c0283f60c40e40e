"""One process of a pre-training job, started by torchrun: `torchrun -m comface.pretrain.worker PLAN SHARDS`.

In: the plan and the URI of the shards as arguments, credentials in the environment. Out: the published backbone (rank
0). On failure: the exit code of errors.py, and in the file `--told` the message and code of the first process that
failed, because torchrun itself always ends with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
from pathlib import Path

from comface.artifacts.manifest import open_artifact
from comface.artifacts.plans import open_place, planned
from comface.errors import ComfaceError, ConfigurationError, error_of
from comface.execution import FAILURES, execute, read_failure, record_name
from comface.launch.causes import last_words
from comface.pretrain.config import PretrainConfig
from comface.pretrain.draft import draft_backbone, process_count
from comface.pretrain.from_plan import PretrainPlan
from comface.runtime.folders import cache_folder
from comface.store import Store


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="comface.pretrain.worker", description=__doc__)
    parser.add_argument("plan", help="the plan of the pretrain step")
    parser.add_argument("shards", help="URI of the shards")
    parser.add_argument("--result", required=True, help="URI at which the backbone must be published")
    parser.add_argument(
        "--told", type=Path, required=True, help="output file for the error message of the first process that fails"
    )
    given = parser.parse_args(arguments)

    def work(store: Store, own: PretrainPlan) -> None:
        try:
            _train(store, own.pretrain, given.shards, given.result)
        except ComfaceError as error:
            tell(given.told, error)
            raise

    try:
        execute("pretrain", given.plan, PretrainPlan, work, shares_cores=False)
    except SystemExit as end:
        _tell_record(given.told, given.plan, end.code)
        raise


def _train(store: Store, config: PretrainConfig, shards: str, result: str) -> None:
    source = open_artifact(shards, "shards")
    open_number = config.nodes == 1 and not config.gpus_per_node and config.processes is None
    if not open_number and (asked := process_count(config, {})) != (running := process_count(config)):
        raise ConfigurationError(
            f"The job has {running} processes, but pretrain.nodes ({config.nodes}), gpus_per_node "
            f"({config.gpus_per_node}) and processes ask for {asked}; start {asked}, or change these fields."
        )
    if (own := draft_backbone(store, config, source).uri) != result:
        raise ConfigurationError(
            f"This process would publish {own}, but its launcher waits for {result}: they run different code; use the "
            "same image for both (pretrain.job.image)."
        )
    from comface.pretrain.step import pretrain  # imports torch; execute() must set how its threads wait first

    pretrain(store, config, source, cache_folder())


def tell(path: Path, error: ComfaceError) -> None:
    """Write the error of the first process that fails. Other processes fail as a consequence, or with it, and write
    nothing. If the file cannot be written, the error itself is still raised."""
    if is_silent(path):
        with contextlib.suppress(OSError), path.open("r+", encoding="utf-8") as file:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)  # all processes of a node may fail at the same time
            if is_silent(path):
                file.write(last_words(error))
                file.flush()


def is_silent(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _tell_record(path: Path, plan: str, code: object) -> None:
    """Write the recorded error of an earlier attempt, with which this process ended immediately (execution/)."""
    with contextlib.suppress(ComfaceError):
        store, place = open_place(plan)
        if is_silent(path) and place.run:
            name = record_name("pretrain", planned(PretrainPlan, plan, store).item)
            record = read_failure(store, f"{FAILURES}/{place.run}/{name}.json")
            if record and record.exit_code == code:
                tell(path, error_of(record.exit_code, record.sentence))


if __name__ == "__main__":
    main()
