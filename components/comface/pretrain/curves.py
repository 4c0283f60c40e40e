"""Live curves of a training, as TensorBoard event files in the folder `curves/NAME` of the store.

In: numbers by name after a step. Out: files `events.out.tfevents.STEP.comface` (TensorFlow's record format), which
TensorBoard and W&B read. STEP is the number of steps at the start of the file; a file ends where a checkpoint is saved.
So a training that resumes from a checkpoint deletes the files that begin there or later and writes them again, and no
step is in the curves twice. The files contain numbers and the configuration, no image.

A thread writes to the store, so that a store that does not answer delays no step.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

from comface.errors import ComfaceError
from comface.pretrain.config import PretrainConfig
from comface.store import Store

logger = logging.getLogger(__name__)

CURVES = "curves"
"""Folder of the store with one folder per training."""
EVERY_S = 30.0
"""Seconds between two writes of the current file. It is written whole each time, and is small: a reading has 0.6 KB."""
LAST_S = 5.0
"""Seconds that the end of a training waits for the last write."""


def curves_name(config: PretrainConfig, address: str) -> str:
    """The folder of a training below `curves`; TensorBoard shows it as the name of the run."""
    return f"{config.backbone}-{config.learning}-seed{config.seed}-{address}"


class Curves:
    """The event files of one training in `store`. Only the first process writes; without a store nothing happens."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store
        self._start, self._records = 0, bytearray()
        self._files: dict[str, bytes] = {}
        """Files that the store does not have in this state yet."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._tried_s = time.monotonic()
        self._failed = False

    def begin(self, step: int, configuration: str = "") -> None:
        """Start, or continue after a checkpoint at `step`: drop what was written after it. `configuration`: JSON, which
        TensorBoard shows under "Text"; of the first file."""
        if self.store is None:
            return
        try:
            for key in list(self.store.keys()):
                if (found := _step_of(key)) is not None and found >= step:
                    self.store.delete(key)
        except ComfaceError as error:
            self._warn(error)
        self._open(step)
        if not step and configuration:
            self._records += _record(summary=_text("configuration", f"```json\n{configuration}\n```"))

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add numbers after `step` steps; None is left out. The current file is written if EVERY_S have passed."""
        if self.store is None:
            return
        self._records += _record(step=step, summary=_scalars(values))
        if time.monotonic() - self._tried_s > EVERY_S:
            self._write()

    def cut(self, step: int) -> None:
        """End the current file, because a checkpoint is saved after `step` steps, and start the next one."""
        if self.store is not None and step != self._start:
            self._write()
            self._open(step)

    def close(self) -> None:
        """Write the current file, and wait for the store, but not long."""
        if self.store is not None and self._records:  # otherwise `begin` was not reached, and the store's files stay
            self._write()
            if (thread := self._thread) is not None:
                thread.join(LAST_S)

    def _open(self, step: int) -> None:
        self._start, self._records = step, bytearray(_record(file_version="brain.Event:2"))

    def _write(self) -> None:
        self._tried_s = time.monotonic()
        with self._lock:
            self._files[f"events.out.tfevents.{self._start:010d}.comface"] = bytes(self._records)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._deliver, name="curves", daemon=True)
                self._thread.start()

    def _deliver(self) -> None:
        """Write the files to the store, until all are there or the store fails; the next write tries again."""
        assert self.store is not None
        while True:
            with self._lock:
                if not self._files:
                    self._thread = None
                    return
                name, data = next(iter(self._files.items()))
            try:
                self.store.write(name, data)
            except ComfaceError as error:
                self._warn(error)
                with self._lock:
                    self._thread = None
                return
            with self._lock:
                if self._files[name] is data:
                    del self._files[name]

    def _warn(self, error: ComfaceError) -> None:
        if not self._failed:
            logger.warning(f"The curves of the training were not written, and the training continues: {error}")
        self._failed = True


def _step_of(key: str) -> int | None:
    """The step in the name of an event file; None for another object."""
    number = key.removeprefix("events.out.tfevents.").partition(".")[0]
    return int(number) if key.startswith("events.out.tfevents.") and number.isdigit() else None


def _record(**fields: Any) -> bytes:
    """An event as a record: length, its checksum, the event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    event = Event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(event))
    return b"".join([length, struct.pack("<I", masked_crc32c(length)), event, struct.pack("<I", masked_crc32c(event))])


def _scalars(values: Mapping[str, float | None]) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    kept = {tag: value for tag, value in values.items() if value is not None}
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in kept.items()])


def _text(tag: str, text: str) -> Any:
    from tensorboardX import summary

    return summary.text(tag, text)
