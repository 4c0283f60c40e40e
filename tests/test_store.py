"""The object store: both kinds keep one contract, and every failure has its sentence and exit code."""

from __future__ import annotations

import errno
import http.server
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from comface.errors import ComfaceError, ConfigurationError, DataError, TryAgain
from comface.files import failure
from comface.store import FileStore, Store, open_store
from comface.store.s3 import S3Store, access_from
from comface.store.s3_http import Patience

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return open_store((tmp_path / "store").as_uri())
    environment = request.getfixturevalue("s3_environment")
    return open_store(f"s3://comface/{uuid.uuid4().hex}", environment)


def sentence(error: pytest.ExceptionInfo[ComfaceError]) -> str:
    text = str(error.value)
    assert text[0].isupper()
    assert text.endswith(".")
    assert "\n" not in text
    return text


# One contract


def test_what_is_written_is_read_whole_in_ranges_and_as_a_file(store: Store, tmp_path: Path) -> None:
    store.write("a/b.bin", bytes(range(100)))
    assert store.read("a/b.bin") == bytes(range(100))
    assert store.read_range("a/b.bin", 10, 5) == bytes(range(10, 15))
    assert store.read_range("a/b.bin", 10, 0) == b""
    store.download("a/b.bin", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == bytes(range(100))
    store.upload("c", tmp_path / "new" / "copy")
    assert store.child("a").read("b.bin") == store.read("c")


def test_an_object_can_be_written_by_a_function_that_fills_a_file(store: Store) -> None:
    def fill(file: BinaryIO) -> None:
        file.write(b"....")
        file.write(b"x" * 100_000)
        file.seek(0)
        file.write(b"HEAD")

    store.write("folder/filled", fill)
    assert store.read("folder/filled") == b"HEAD" + b"x" * 100_000


def test_a_download_replaces_a_file_without_a_moment_in_which_there_is_none(store: Store, tmp_path: Path) -> None:
    store.write("k", b"x" * 1000)
    store.download("k", tmp_path / "copy")
    absent, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not (tmp_path / "copy").exists():
                absent.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(30):
        store.download("k", tmp_path / "copy")
    done.set()
    watcher.join()
    assert absent == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "store"] == ["copy"]


def test_a_range_that_runs_over_the_end_is_refused_instead_of_cut_short(store: Store) -> None:
    store.write("short", b"12345")
    for offset in (3, 50):
        with pytest.raises(DataError, match="ends before byte") as error:
            store.read_range("short", offset, 10)
        assert "'short'" in sentence(error)


def test_a_missing_object_is_named_in_a_data_error(store: Store, tmp_path: Path) -> None:
    for read in (
        lambda: store.read("no/such"),
        lambda: store.read_range("no/such", 0, 1),
        lambda: store.download("no/such", tmp_path / "x"),
    ):
        with pytest.raises(DataError, match="no object 'no/such'") as error:
            read()
        sentence(error)
    assert not store.exists("no/such")
    assert not (tmp_path / "x").exists()
    store.delete("no/such")


def test_keys_are_those_below_a_folder_sorted_and_relative_to_the_root(store: Store) -> None:
    for key in ("v/10", "v/2", "v/2/x y/ä.json", "va", "w/1"):
        if key != "v/2" or isinstance(store, S3Store):
            store.write(key, b"")
    expected = ["v/10", "v/2", "v/2/x y/ä.json"] if isinstance(store, S3Store) else ["v/10", "v/2/x y/ä.json"]
    assert list(store.keys("v")) == expected
    assert list(store.keys()) == [*expected, "va", "w/1"]
    assert list(store.child("v").keys()) == [key[2:] for key in expected]
    assert list(store.keys("none")) == []


def test_create_refuses_to_replace(store: Store) -> None:
    assert store.create("claims/v1", b"mine")
    assert not store.create("claims/v1", b"yours")
    assert store.read("claims/v1") == b"mine"


def _create(uri: str, start: float, name: str, answers: multiprocessing.Queue[str]) -> None:
    store = open_store(uri)
    time.sleep(max(0.0, start - time.time()))
    if store.create("claims/v1", name.encode()):
        answers.put(name)


def test_of_processes_that_create_at_the_same_moment_exactly_one_wins(store: Store) -> None:
    answers = SPAWN.Queue()
    start = time.time() + 2.0
    racers = [SPAWN.Process(target=_create, args=(store.uri, start, f"r{i}", answers)) for i in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(30)
        assert racer.exitcode == 0
    assert store.read("claims/v1").decode() == answers.get(timeout=5)
    assert answers.empty()


@pytest.mark.parametrize("key", ["/absolute", "../up", "a/../../b", "", ".", "line\nbreak", "nul\0"])
def test_a_key_that_leaves_the_store_is_refused(store: Store, key: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        store.write(key, b"")
    sentence(error)


# Where the store lies


@pytest.mark.parametrize("uri", ["", "file://", "file://host/a", "s3://", "gs://bucket/a", "s3:bucket"])
def test_another_kind_of_address_is_refused_in_a_sentence(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="neither file:///absolute/path nor s3://bucket/prefix") as error:
        open_store(uri, {})
    sentence(error)


def test_a_plain_path_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("runs/../runs/a b").uri == (tmp_path / "runs" / "a b").as_uri()
    assert open_store(str(tmp_path / "100%")).path("x") == tmp_path / "100%" / "x"
    assert open_store("~/store").uri == (Path.home() / "store").as_uri()


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    for uri in ("s3://AKIA:hush-hush@bucket/a", "https://user:hush-hush@host/"):
        with pytest.raises(ConfigurationError, match="contains credentials") as error:
            open_store(uri, {})
        assert "hush" not in sentence(error)


def test_an_s3_store_without_credentials_says_which_variables_to_set() -> None:
    with pytest.raises(ConfigurationError, match="needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as error:
        open_store("s3://comface/a", {"AWS_ACCESS_KEY_ID": "AKIA"})
    sentence(error)
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL is not"):
        open_store(
            "s3://c/a", {"AWS_ENDPOINT_URL": "minio:9000", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        )


def test_a_question_mark_or_hash_in_an_s3_prefix_is_part_of_the_prefix(s3_environment: dict[str, str]) -> None:
    assert open_store("s3://comface/run?1#a/b", s3_environment).uri == "s3://comface/run?1#a/b"


# Refusals of an S3 server


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_refused_key_is_a_configuration_error_that_does_not_tell_the_key(
    s3_environment: dict[str, str], wrong: str
) -> None:
    environment = {**s3_environment, wrong: "AKIAWRONGWRONGWRONG1"}
    store = open_store("s3://comface/a", environment)
    for act in _every_action(store):
        with pytest.raises(ConfigurationError, match="refused the access key") as error:
            act()
        assert error.value.exit_code == 64
        assert environment[wrong] not in repr(access_from(environment))
        for secret in (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]):
            assert secret not in sentence(error)


def test_a_missing_bucket_is_named(s3_environment: dict[str, str]) -> None:
    for name in ("no-such-bucket", "Not_A_Valid_Name!"):
        with pytest.raises(ConfigurationError) as error:
            open_store(f"s3://{name}/a", s3_environment).write("x", b"")
        assert name in sentence(error)


def test_an_unreachable_store_asks_to_try_again(s3_environment: dict[str, str]) -> None:
    environment = {**s3_environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    access = replace(access_from(environment), patience=Patience(first_s=0.1))
    for act in _every_action(S3Store(access, "comface", "a")):
        with pytest.raises(TryAgain, match=r"cannot be reached .*\(http://127.0.0.1:9 refuses connections") as error:
            act()
        assert error.value.exit_code == 75
        sentence(error)


def _every_action(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: store.read("k"),
        lambda: store.write("k", b"x"),
        lambda: store.create("k", b"x"),
        lambda: store.exists("k"),
        lambda: list(store.keys()),
        lambda: store.delete("k"),
        lambda: store.download("k", Path(os.devnull + "-not-made")),
    ]


# A server that ignores conditional puts


class _Forgetful(http.server.BaseHTTPRequestHandler):
    """Puts and gets objects of a dictionary; the last writer wins, whatever the condition. Connections are kept.
    `refusal`: of a put with a condition, as some servers give it."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    refusal: bytes | None = None

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.refusal is not None and "If-None-Match" in self.headers:
            return self._answer(501, b"<Error><Code>%s</Code></Error>" % self.refusal)
        self.objects[self.path] = data
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(200 if self.path in self.objects else 404, self.objects.get(self.path, b""))

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.send_header("Content-Type", "application/xml" if status == 501 else "binary/octet-stream")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[None, b"NotImplemented", b"InvalidArgument"], ids=["ignores", "refuses", "wonders"])
def forgetful_endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    handler = type("Handler", (_Forgetful,), {"objects": {}, "refusal": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_where_the_server_ignores_or_refuses_the_condition_still_exactly_one_creator_wins(
    forgetful_endpoint: str,
) -> None:
    environment = {
        "AWS_ENDPOINT_URL": forgetful_endpoint,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    won: list[str] = []

    def race(name: str, ready: threading.Barrier) -> None:
        store = S3Store(access_from(environment), "comface", "", settle_s=0.5)
        ready.wait()
        if store.create("v1", name.encode()):
            won.append(name)

    ready = threading.Barrier(4)
    racers = [threading.Thread(target=race, args=(f"r{i}", ready)) for i in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    store = S3Store(access_from(environment), "comface", "", settle_s=0.0)
    assert won == [store.read("v1").decode()]
    assert not store.create("v1", b"late")


# Worker processes


def _read_often(store: Store, key: str, expected: bytes) -> None:
    for _ in range(40):
        assert store.read(key) == expected


def test_processes_forked_from_a_reader_do_not_share_its_connection(forgetful_endpoint: str) -> None:
    """As the loader's workers are: on one socket that is kept alive they would read each other's answers."""
    store = open_store(
        "s3://comface/forked",
        {"AWS_ENDPOINT_URL": forgetful_endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
    )
    contents = {f"k{i}": bytes([i]) * 20_000 for i in range(4)}
    for key, data in contents.items():
        store.write(key, data)
    fork = multiprocessing.get_context("fork")
    readers = [fork.Process(target=_read_often, args=(store, key, data)) for key, data in contents.items()]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    codes = [reader.exitcode for reader in readers]
    for reader in readers:
        reader.kill()
    assert codes == [0] * len(readers)


# One machine: privacy, atomic publication, full disks


def test_objects_and_folders_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"x")
    (tmp_path / "open").chmod(0o644)
    before = os.umask(0)
    try:
        store = FileStore(tmp_path / "new" / "store")
        store.write("a/b", b"x")
        store.upload("a/c", tmp_path / "open")
        store.create("a/d", b"x")
        store.download("a/b", tmp_path / "copies" / "b")
    finally:
        os.umask(before)
    files = [*(tmp_path / "new").rglob("*"), *(tmp_path / "copies").rglob("*"), tmp_path / "new", tmp_path / "copies"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    assert {mode for name, mode in modes.items() if name in ("b", "c", "d")} == {0o600}
    assert {mode for name, mode in modes.items() if name in ("new", "store", "a", "copies")} == {0o700}


WRITER = """
import sys
from pathlib import Path
from comface.files import write_private
from comface.store import FileStore
import os

store = FileStore(Path(sys.argv[1]))

def slowly(file):
    for _ in range(1000):
        file.write(b"new" * 1000)
        file.flush()
        print("writing", flush=True)
        sys.stdin.readline()

store._publish("object", slowly, os.replace)
"""


@pytest.mark.parametrize("old", [b"old", None])
def test_a_writer_killed_in_the_middle_leaves_the_old_object_or_none(tmp_path: Path, old: bytes | None) -> None:
    store = FileStore(tmp_path / "store")
    if old is not None:
        store.write("object", old)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    assert any(path.name.startswith(".writing-") for path in store.root.iterdir())
    assert list(store.keys()) == ([] if old is None else ["object"])
    assert store.exists("object") == (old is not None)
    if old is not None:
        assert store.read("object") == old
    store.write("object", b"next")
    assert store.read("object") == b"next"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; where mounting is not allowed, a limit on the size of files that this process may
    write says 'no room' as well."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    may_mount = os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = may_mount and subprocess.run(command, capture_output=True).returncode == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, limits[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_asks_to_try_again_and_leaves_nothing_behind(tiny_disk: Path, tmp_path: Path) -> None:
    store = FileStore(tiny_disk / "store")
    store.write("small", b"kept")
    (tmp_path / "large").touch()
    for act in (
        lambda: store.write("large", bytes(1 << 20)),
        lambda: store.create("large", bytes(1 << 20)),
    ):
        with pytest.raises(TryAgain, match="disk is full") as error:
            act()
        assert error.value.exit_code == 75
        assert "'large'" in sentence(error)
    assert [path.name for path in store.root.iterdir()] == ["small"]
    assert store.read("small") == b"kept"
    store.write("after", b"room")


def test_a_download_into_a_full_disk_asks_to_try_again(s3_environment: dict[str, str], tiny_disk: Path) -> None:
    store = open_store("s3://comface/full", s3_environment)
    store.write("large", bytes(1 << 20))
    with pytest.raises(TryAgain, match="disk is full") as error:
        store.download("large", tiny_disk / "large")
    sentence(error)
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, TryAgain), (errno.EDQUOT, TryAgain), (errno.EACCES, ConfigurationError),
     (errno.EROFS, ConfigurationError), (errno.EIO, TryAgain)],
)  # fmt: skip
def test_each_failure_of_the_disk_has_its_branch_of_the_tree(number: int, kind: type[ComfaceError]) -> None:
    error = failure(OSError(number, os.strerror(number)), "'faces.npy' of file:///runs")
    assert type(error) is kind
    assert "'faces.npy' of file:///runs" in str(error)


def test_a_place_that_is_mounted_read_only_is_said_to_be_so() -> None:
    error = failure(OSError(errno.EROFS, os.strerror(errno.EROFS)), "'faces.npy' of file:///runs")
    assert str(error).startswith("The file system of 'faces.npy' of file:///runs is mounted read-only; ")


def test_a_file_where_a_folder_should_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ComfaceError, match=r"Not a directory|File exists") as error:
        FileStore(tmp_path / "store").write("a/b", b"x")
    sentence(error)
