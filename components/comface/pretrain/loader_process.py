"""What a loader process does: it decodes what the training asks for, or copies shards to this node's disk.

In: the slots of memory that it shares with the training (loaders.py), and a pipe. Out: pixels in the slots; on the
pipe, the number of each slot that is filled, or the error.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from comface.errors import ComfaceError, TryAgain, error_of
from comface.pretrain.data import BatchArrays, PairImages


@dataclass
class Slot:
    """The memory of one batch, and the number of its pieces that are still to be decoded."""

    arrays: BatchArrays
    missing: int = 0


@dataclass
class Ring:
    """The slots of one source of pairs."""

    images: PairImages
    slots: list[Slot]
    pieces: list[slice]
    given: set[int] = field(default_factory=set)
    """Numbers of the slots whose batch is in use."""


def run(action: object, argument: object, pipe: Connection, inherited: Sequence[Connection]) -> None:
    """The training's signal handlers only record a request, so SIGTERM would not end the process. SIGINT is ignored,
    because the training receives it too and ends its loaders. If the training ends first, nothing is reported."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for each in inherited:
        each.close()
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            action(argument, pipe)  # type: ignore[operator]
        except (EOFError, ConnectionError):
            raise
        except ComfaceError as error:
            _send(pipe, error_of(error.exit_code, str(error)))
        except MemoryError:
            _send(pipe, TryAgain("A loader process ran out of memory; lower pretrain.loader_workers, then run again."))
        except Exception:
            _send(pipe, RuntimeError(traceback.format_exc()))
        while True:  # until the training, which may be about to ask for more, has read the error and closes the pipe
            pipe.recv_bytes()


def serve(rings: Sequence[Ring], pipe: Connection) -> None:
    """Decode what is asked for, until the training closes the pipe."""
    while True:
        ring, number, item, piece = pickle.loads(pipe.recv_bytes())
        found = rings[ring]
        found.images.fill(found.slots[number].arrays, item, found.pieces[piece])
        _send(pipe, (ring, number))


def copy_shards(readers: Sequence[object], pipe: Connection) -> None:
    """Copy the shards that fit on this node's disk, while loader processes read by ranges."""
    threading.Thread(target=_end_with_training, args=(pipe,), daemon=True).start()
    for reader in readers:
        reader.copy_all()  # type: ignore[attr-defined]
    _send(pipe, None)


def _end_with_training(pipe: Connection) -> None:
    """The training tells the copier nothing, so what arrives is the end of the pipe: the training was killed. To go on
    copying would keep its GPU's memory and its port in use, because a forked process has the same open files."""
    pipe.poll(None)
    os._exit(0)


def _send(pipe: Connection, what: object) -> None:
    pipe.send_bytes(pickle.dumps(what))
