"""`comface run` with a pipeline of one step, which does what the test wants: what a run is around its steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from tiny_run import TINY, command, sets

SOURCE = """
from kfp import compiler, dsl

@dsl.component(base_image="python", packages_to_install=[], install_kfp_package=False)
def step(store: str, run_name: str, run_id: str):
    import json, os, subprocess, sys, time
    if run_name == "import":
        import not_there
    from comface.artifacts.plans import Plan
    from comface.errors import DataError
    from comface.execution import execute

    def work(*_):
        if run_name == "defect":
            return None + 1
        if run_name == "data":
            raise DataError("The \\x1b[31mshard\\x1b[0m 3 is truncated; make it again.")
        if run_name == "killed":
            os.kill(os.getpid(), 9)
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); open('started', 'w'); time.sleep(120)"
        subprocess.Popen([sys.executable, "-c", deaf])
        import tempfile
        with tempfile.TemporaryDirectory():
            time.sleep(120)

    execute("shard", json.dumps({"store": store, "run": run_id}), Plan, work)

@dsl.pipeline(name="stub")
def stub(profile: str, overrides: dict, run_name: str, store: str, nodes: int, gpus_per_node: int):
    step(store=store, run_name=run_name, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER).set_caching_options(False)

if __name__ == "__main__":
    import sys
    compiler.Compiler().compile(stub, sys.argv[1])
"""
HOSTILE = ("docker", "kfp", "yaml", "numpy")
MARK = "COMFACE_TEST_MARK"


def compile_stub(folder: Path) -> Path:
    (folder / "stub.py").write_text(SOURCE)
    subprocess.run([sys.executable, "-W", "ignore", folder / "stub.py", folder / "stub.yaml"], check=True)
    return folder / "stub.yaml"


class StubRun:
    """One `comface run`, started; `folder` is where it stands, and has its own TMPDIR."""

    def __init__(self, pipeline: Path, folder: Path, does: str, **options: object) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.scratch = folder / "tmp"
        self.scratch.mkdir(parents=True)
        for name in HOSTILE:  # a checkout has a folder `docker` beside `runs`; anything may lie where a person works
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text("raise SystemExit('taken from the current folder')")
        overrides = sets((*TINY, f"register.name={does}"))
        arguments = ["run", "--pipeline", pipeline, "--output", folder / "out", *overrides]
        environment = {**os.environ, MARK: self.mark, "TMPDIR": str(self.scratch)}
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-P", *command(*arguments)[1:]], cwd=folder, env=environment, text=True, **pipe
        )

    def wait_for_the_step(self) -> None:
        until = time.monotonic() + 60
        while not (self.folder / "started").is_file():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.05)

    def living(self) -> set[int]:
        """Every process that descends from the run: it inherited the mark."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
        return found - {os.getpid()}

    def gone_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self.living() and time.monotonic() < until:
            time.sleep(0.1)
        return not self.living()

    def kill(self) -> None:
        for process in self.living():
            os.kill(process, signal.SIGKILL)
        self.process.wait(10)
