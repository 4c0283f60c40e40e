"""A real `comface serve` in a process of its own, for tests that ask it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from free_port import free_port
from tiny_run import command


@dataclass
class Served:
    """`client`: of its HTTP interface. `scratch`: its folder for temporary files. `log`: what it printed."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    metrics_port: int
    scratch: Path
    log: Path
    early: tuple[httpx.Response, httpx.Response] | None = None
    """Answers to /healthz and /v1/compare before the model was loaded."""

    @classmethod
    def start(cls, model: str, folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Served:
        port, metrics_port = free_port(), free_port()
        scratch, log = folder / "scratch", folder / "log"
        scratch.mkdir(parents=True)
        words = ("serve", "--model", model, "--port", port, "--metrics-port", metrics_port, *options)
        with log.open("wb") as file:
            process = subprocess.Popen(
                command(*words), stderr=file, cwd=folder,
                env={**os.environ, "TMPDIR": str(scratch), **(environment or {})},
            )  # fmt: skip
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=150)
        return cls(process, client, metrics_port, scratch, log)

    def ready(self) -> Served:
        until = time.monotonic() + 150
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.early = self.early or (self.client.get("/healthz"), self.compare(b"1", b"2"))
                if self.client.get("/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"the service did not become ready: {self.log.read_text()[-2000:]}")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.client.close()
        return code

    def compare(self, *photos: bytes, **fields: str) -> httpx.Response:
        return self.client.post("/v1/compare", files=[("photos", ("a.jpg", data)) for data in photos], data=fields)

    def metrics(self) -> dict[str, float]:
        text = self.client.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def processes(self) -> list[int]:
        """The server and its workers."""
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")  # a thread has the children that it started
        return [self.process.pid, *(int(number) for each in lists for number in each.read_text().split())]

    def workers(self) -> list[int]:
        lines = {number: Path(f"/proc/{number}/cmdline").read_bytes() for number in self.processes()}
        return [number for number, line in lines.items() if b"spawn_main" in line]

    def memory_bytes(self) -> int:
        """Resident memory of all its processes."""
        pages = (int(Path(f"/proc/{number}/statm").read_text().split()[1]) for number in self.processes())
        return sum(pages) * os.sysconf("SC_PAGESIZE")
