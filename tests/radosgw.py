"""A real object store, Ceph's radosgw, on loopback: one monitor, one OSD in memory, one gateway (Debian's packages
ceph-mon, ceph-osd, ceph-common, radosgw). Unlike moto it checks every signature, holds objects in a cluster and knows
conditional writes; so the longer proofs run against it too."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

from free_port import free_port

from comface.store.s3 import access_from, connected

PROGRAMS = ("ceph-mon", "ceph-osd", "monmaptool", "ceph", "radosgw", "radosgw-admin")
ACCESS_KEY, SECRET_KEY = "comface-on-ceph", "a-secret-word-of-this-test-alone"
TRIES = 3
"""A start that follows a stop fails now and then."""
INSTALL = "apt-get install --no-install-recommends ceph-mon ceph-osd ceph-common radosgw"


def missing() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextlib.contextmanager
def radosgw(folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """The environment of a client that may do everything; the bucket is there. Raises RuntimeError with the last words
    of a daemon that does not start."""
    for attempt in range(TRIES):
        cluster = Cluster(folder / f"ceph-{attempt}")
        try:
            cluster.start()
            break
        except (RuntimeError, subprocess.SubprocessError):
            cluster.stop()
            if attempt == TRIES - 1:
                raise
    try:
        environment = {
            "AWS_ENDPOINT_URL": cluster.endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }  # fmt: skip
        connected(access_from(environment), os.getpid())[0].make_bucket(bucket)
        yield environment
    finally:
        cluster.stop()


class Cluster:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.daemons = folder, list[subprocess.Popen[bytes]]()
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self.conf = folder / "ceph.conf"
        self.fsid, self.monitor = uuid.uuid4(), f"127.0.0.1:{free_port()}"
        # v1: by the messenger's second version radosgw 16 finds no monitor that asks for no key
        self.conf.write_text(f"""[global]
fsid = {self.fsid}
mon host = v1:{self.monitor}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd objectstore = memstore
memstore device bytes = 6442450944
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
mon data = {folder}/mon-$id
osd data = {folder}/osd-$id
rgw data = {folder}/rgw
rgw frontends = beast endpoint={self.endpoint.removeprefix("http://")}
""")

    def start(self) -> None:
        self._once("monmaptool", "--create", "--addv", "a", f"[v1:{self.monitor}]", "--fsid", str(self.fsid),
                   str(self.folder / "monmap"))  # fmt: skip
        (self.folder / "mon-a").mkdir()
        self._once("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(self.folder / "monmap"))
        self._daemon("ceph-mon", "-i", "a", "-f")
        number = self._once("ceph", "--connect-timeout", "20", "osd", "create").strip()
        (self.folder / f"osd-{number}").mkdir()
        self._once("ceph-osd", "--mkfs", "-i", number)
        self._daemon("ceph-osd", "-i", number, "-f")
        self._daemon("radosgw", "-f")
        until = time.monotonic() + 90
        while not self._answers():
            if time.monotonic() > until or any(daemon.poll() is not None for daemon in self.daemons):
                raise RuntimeError(f"radosgw did not start: {self._last_words()}")
            time.sleep(0.2)
        self._once("radosgw-admin", "user", "create", "--uid", "tester", "--display-name", "tester",
                   "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)  # fmt: skip

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.kill()  # it holds its objects in memory: nothing to flush
            daemon.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _once(self, program: str, *arguments: str) -> str:
        command = (program, "--conf", str(self.conf), *arguments) if program != "monmaptool" else (program, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr[-500:]}")
        return done.stdout

    def _daemon(self, program: str, *arguments: str) -> None:
        log = (self.folder / f"{program}.out").open("wb")
        with log:
            command = (program, "--conf", str(self.conf), *arguments)
            self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _last_words(self) -> str:
        logs = sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("*.log"))
        return "; ".join(f"{log.name}: {log.read_text(errors='replace')[-300:]}" for log in logs)
