"""Batches from loader processes, in order, through shared memory.

The processes are forked once per training and serve training and held-out batches. A batch lies in a slot of memory
that all of them share (an anonymous mapping, which needs no /dev/shm): loader processes decode pieces of it there, and
the training reads it there, without a copy. With a GPU the mapping is registered with CUDA, so that a slot is copied to
the device directly and asynchronously. Only numbers travel through pipes.

An error in a loader process is raised in the training as the same error. A process that ends, or no batch within a time
limit, raises TryAgain.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import multiprocessing
import multiprocessing.process
import pickle
import signal
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

import numpy as np

from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.pretrain.data import Batch, BatchArrays, PairImages
from comface.pretrain.draft import batch_bytes, batches_ahead, pieces_of
from comface.pretrain.loader_process import Ring, Slot, copy_shards, run, serve
from comface.pretrain.processes import Processes
from comface.runtime.memory import memory_limit_bytes

END_S = 5.0
"""How long to wait for the end of processes that were killed."""
PATIENCE_S = 300.0


@dataclass
class _Worker:
    process: ForkProcess
    pipe: Connection
    tasks: int = 0
    """Pieces that it was asked for and has not delivered."""


class Loader:
    """Reads the batches of `sources`, with `workers` processes (0: in this process). `patience_s`: longest wait for a
    batch. A context manager: the processes end with it."""

    def __init__(self, sources: Sequence[PairImages], workers: int, patience_s: float = PATIENCE_S) -> None:
        self.patience_s, self._workers = patience_s, list[_Worker]()
        sizes = [batch_bytes(each.count, each.image_shape[0]) for each in sources]
        counts = [batches_ahead(workers, each.count) for each in sources]
        pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
        self.memory = mmap.mmap(-1, sum(n * size for n, size in zip(counts, pages, strict=True)))
        self.at_end = contextlib.ExitStack()
        """What to undo before the memory is released."""
        view, at = memoryview(self.memory), 0
        self._rings = list[Ring]()
        for images, count, size in zip(sources, counts, pages, strict=True):
            places = range(at, at + count * size, size)
            slots = [Slot(BatchArrays.within(view[p : p + size], images.count, images.image_shape)) for p in places]
            self._rings.append(Ring(images, slots, _pieces(images.count) if workers else [slice(0, images.count)]))
            at += count * size
        copied = [each.images for each in self._rings if workers and not each.images.reader.copies.in_place]
        for images in copied:
            images.reader.copies_elsewhere = True
        self._copier: _Worker | None = None
        try:
            for _ in range(workers):
                self._workers.append(self._started(serve, self._rings))
            if copied:
                self._copier = self._started(copy_shards, [images.reader for images in copied])
        except OSError:  # for example the limit of processes is reached
            self.close()
            raise

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batches(self, images: PairImages, items: Iterable[int]) -> Generator[Batch, None, None]:
        """Yield the batches `items` of a source. A batch is valid until the next one is taken. Raises the errors of
        `images`, and TryAgain if a loader process ends, or no batch comes within the time limit."""
        stream = Stream(self, self._ring(images), items)
        with contextlib.closing(stream):
            while (slot := stream.take()) is not None:
                yield stream.batch(slot)
                stream.give_back(slot)

    def stream(self, images: PairImages, items: Iterable[int]) -> Stream:
        """The batches `items` of a source, to be given back one by one (prefetch.py)."""
        return Stream(self, self._ring(images), items)

    def address(self) -> tuple[int, int]:
        """Address and size in bytes of the memory of all batches."""
        return np.frombuffer(self.memory, np.uint8).ctypes.data, len(self.memory)

    def close(self) -> None:
        """End the processes, also those that are stopped (SIGSTOP) or wait for a store. One that waits for a disk or
        is in a frozen cgroup ends when the kernel lets it; nobody waits for it."""
        everyone = [*self._workers, *([self._copier] if self._copier else [])]
        for worker in everyone:
            worker.pipe.close()
            worker.process.kill()
        until = time.monotonic() + END_S
        for worker in everyone:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():  # at the end of this process, multiprocessing would wait for it
                multiprocessing.process._children.discard(worker.process)  # type: ignore[attr-defined]
        self._workers, self._copier = [], None
        self.at_end.close()

    # Between the training and its loader processes

    def ask(self, ring: Ring, number: int, item: int) -> None:
        """Have an item decoded into slot `number`. Each piece goes to the process with the fewest."""
        ring.slots[number].missing = len(ring.pieces)
        if not self._workers:
            ring.images.fill(ring.slots[number].arrays, item, ring.pieces[0])
            ring.slots[number].missing = 0
        for piece in range(len(ring.pieces)) if self._workers else ():
            worker = min(self._workers, key=lambda each: each.tasks)
            with self._ends(worker):
                worker.pipe.send_bytes(pickle.dumps((self._rings.index(ring), number, item, piece)))
            worker.tasks += 1

    def receive(self, until: float) -> bool:
        """Note what loader processes have finished; wait for something until the time `until`. Returns whether anything
        was noted."""
        watched: dict[object, _Worker] = {each.pipe: each for each in self._workers}
        if self._copier is not None:
            watched[self._copier.pipe] = self._copier
        ready = wait(list(watched), max(0.0, until - time.monotonic()))  # type: ignore[arg-type]
        for pipe in ready:
            worker = watched[pipe]
            with self._ends(worker):
                found = pickle.loads(worker.pipe.recv_bytes())
            if isinstance(found, ComfaceError | RuntimeError):
                raise found
            if found is None:  # all copies are made
                worker.pipe.close()
                worker.process.join(END_S)
                self._copier = None
                continue
            worker.tasks -= 1
            ring, number = found
            self._rings[ring].slots[number].missing -= 1
        return bool(ready)

    def stalled(self) -> TryAgain:
        slow = [each for each in self._workers if each.tasks]
        states = ", ".join(f"{each.process.pid} {_state(each.process.pid)}" for each in slow[:3])
        return TryAgain(
            f"No batch was ready within {self.patience_s:g} s, because {len(slow)} of {len(self._workers)} loader "
            f"processes do not answer ({states}); check the disk, the store and the node, or raise "
            "pretrain.data_timeout_s, then run again."
        )

    @contextlib.contextmanager
    def _ends(self, worker: _Worker) -> Iterator[None]:
        """Convert a broken pipe to TryAgain: the process has ended."""
        try:
            yield
        except (EOFError, ConnectionError):
            worker.process.join(END_S)
            code = worker.process.exitcode
            how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            raise TryAgain(
                f"A loader process ended unexpectedly ({how}), probably because memory ran out; lower "
                "pretrain.loader_workers or raise pretrain.job.memory_gib, then run again."
            ) from None

    def _ring(self, images: PairImages) -> Ring:
        return next(ring for ring in self._rings if ring.images is images)

    def _started(self, action: object, argument: object) -> _Worker:
        here, there = multiprocessing.Pipe()
        inherited = [*(worker.pipe for worker in self._workers), here]  # else the pipes would outlive this process
        process = multiprocessing.get_context("fork").Process(
            target=run, args=(action, argument, there, inherited), daemon=True
        )
        process.start()
        there.close()
        return _Worker(process, here)


class Stream:
    """The batches of some items of one source, in order. A slot that was taken must be given back."""

    def __init__(self, loader: Loader, ring: Ring, items: Iterable[int]) -> None:
        self._loader, self._ring, self._items = loader, ring, iter(items)
        self._asked = deque[int]()
        self._fill()

    def is_ready(self) -> bool:
        """Whether `take` returns at once."""
        while self._loader.receive(0.0):
            pass
        return bool(self._asked) and not self._slot(self._asked[0]).missing

    def take(self) -> int | None:
        """The number of the slot with the next batch; None after the last."""
        until = time.monotonic() + self._loader.patience_s
        self._fill()
        while not self._asked and len(self._ring.given) < len(self._ring.slots):
            if not any(slot.missing for slot in self._ring.slots):
                return None
            self._await(until)  # a slot of an earlier stream
            self._fill()
        while self._slot(self._asked[0]).missing:
            self._await(until)
        number = self._asked.popleft()
        self._ring.given.add(number)
        return number

    def batch(self, number: int) -> Batch:
        return self._slot(number).arrays.batch()

    def arrays(self, number: int) -> BatchArrays:
        return self._slot(number).arrays

    def give_back(self, number: int) -> None:
        self._ring.given.discard(number)
        self._fill()

    def close(self) -> None:
        """The slots are free again; those that are being decoded, as soon as they are."""
        self._ring.given.clear()
        self._asked.clear()
        self._items = iter(())

    def _slot(self, number: int) -> Slot:
        return self._ring.slots[number]

    def _await(self, until: float) -> None:
        if not self._loader.receive(until):
            raise self._loader.stalled()

    def _fill(self) -> None:
        """Ask for the next items, as far as slots are free."""
        for number, slot in enumerate(self._ring.slots):
            if slot.missing or number in self._ring.given or number in self._asked:
                continue
            if (item := next(self._items, None)) is None:
                return
            self._asked.append(number)
            self._loader.ask(self._ring, number, item)


def batches(images: PairImages, items: Iterable[int], workers: int, patience_s: float = PATIENCE_S) -> Iterator[Batch]:
    """Yield the batches `items` of one source, as `Loader.batches` does."""
    with Loader([images], workers, patience_s) as loader:
        yield from loader.batches(images, items)


def check_memory(workers: int, processes: Processes, sources: Sequence[PairImages]) -> None:
    """Raises ConfigurationError if the batches of the loaders of this node do not fit into its memory: otherwise a
    process would be killed during a step."""
    one = sum(batches_ahead(workers, each.count) * batch_bytes(each.count, each.image_shape[0]) for each in sources)
    needed, limit = processes.local_count * one, memory_limit_bytes()
    if needed > limit:
        raise ConfigurationError(
            f"The batches that {workers} loader workers prepare for each of {processes.local_count} training "
            f"process(es) need {needed / 1e6:,.1f} MB of memory, and this node has {limit / 1e6:,.1f} MB; lower "
            "pretrain.loader_workers or pretrain.pairs_per_step."
        )


def _pieces(pairs: int) -> list[slice]:
    count = pieces_of(pairs)
    ends = [pairs * number // count for number in range(count + 1)]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def _state(pid: int | None) -> str:
    """What a process does, from its state in /proc."""
    known = {"T": "stopped", "D": "waits for a disk", "S": "waits", "R": "runs", "Z": "ended"}
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return known.get(file.read().rpartition(")")[2].split()[0], "does something else")
    except OSError:
        return "ended"
