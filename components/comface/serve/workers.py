"""Worker processes with the model loaded: each does one job at a time.

In: jobs, as a function and its arguments (work.py). Out: their results, or a Refusal. dlib holds Python's global lock,
so threads would not run in parallel. A process can be ended when a job takes too long, and it can crash alone; it is
then replaced. Jobs of a higher rank go first: the last job of a request before the first one of another.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from comface.errors import ComfaceError, TryAgain, error_of
from comface.serve.limits import Limits, Refusal, refusal_of
from comface.serve.work import Recipe, work

logger = logging.getLogger(__name__)
LOAD_S = 120.0
"""Longest time to load the model."""
AGAIN_S = 5.0
"""Pause before the next attempt when a worker could not be replaced."""
STOP_S = 2.0


class Job(NamedTuple):
    rank: int
    number: int
    call: tuple[str, tuple[Any, ...]]
    until: float
    """When it must have begun, on the clock of the event loop."""
    done: asyncio.Future[Any]


class Worker:
    """One process. Its methods block; the event loop calls them in a thread."""

    def __init__(self, recipe: Recipe) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, recipe), daemon=True, name="comface-worker")
        self._process.start()
        theirs.close()

    def ask(self, call: tuple[str, tuple[Any, ...]] | None, timeout_s: float) -> Any:
        """The result of a job; None: of loading the model. Raises Refusal, ComfaceError, TimeoutError, or EOFError if
        the process ended."""
        connection: Connection = self._connection
        if call is not None:
            connection.send(call)
        if not connection.poll(timeout_s):
            raise TimeoutError
        kind, value = connection.recv()
        if kind == "refusal":
            raise Refusal(*value)
        if kind == "error":
            code, sentence, reason = value
            error = error_of(code, sentence)
            error.reason = reason  # type: ignore[attr-defined]
            raise error
        return value

    def end(self, wait_s: float = 0.0) -> None:
        self._connection.close()
        self._process.join(wait_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


class Workers:
    """`count` workers. `on_restart`: called when one had to be replaced."""

    def __init__(
        self, recipe: Recipe, count: int, limits: Limits, on_restart: Callable[[], None] = lambda: None
    ) -> None:
        self._recipe, self.count, self._limits, self._on_restart = recipe, count, limits, on_restart
        self._threads = ThreadPoolExecutor(count, "comface-worker")
        self._numbers = itertools.count()
        self._jobs: asyncio.PriorityQueue[Job] = asyncio.PriorityQueue()
        self._loops: list[asyncio.Task[None]] = []
        self.ready = self.busy = 0
        self.facts: dict[str, Any] = {}
        """What a worker says of the model after it has loaded it."""

    @property
    def waiting(self) -> int:
        return self._jobs.qsize()

    async def start(self) -> None:
        """Load the model in every worker. Raises ComfaceError if it cannot be loaded."""
        workers = await asyncio.gather(*(self._made() for _ in range(self.count)))
        self._loops = [asyncio.create_task(self._serve(worker)) for worker in workers]

    async def stop(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def ask(self, name: str, *arguments: Any, rank: int = 1) -> Any:
        """The result of the function `name` of work.py. Raises Refusal, also if it waits or takes too long."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        until = loop.time() + self._limits.wait_s
        self._jobs.put_nowait(Job(rank, next(self._numbers), (name, arguments), until, done))
        try:
            async with asyncio.timeout(self._limits.wait_s + self._limits.work_s):
                return await done
        except TimeoutError:  # no worker took it: all of them are being replaced
            raise _waited_too_long() from None

    async def _made(self) -> Worker:
        try:
            worker: Worker = await self._in_thread(Worker, self._recipe)
        except OSError as error:
            raise TryAgain(
                f"A process that works on photos cannot be started ({error.strerror or error}); use fewer --workers, "
                "or give the service more memory, processes and open files."
            ) from None
        try:
            self.facts = await self._in_thread(worker.ask, None, LOAD_S)
        except BaseException as error:
            await self._in_thread(worker.end)
            if isinstance(error, (TimeoutError, EOFError, OSError)):
                raise ComfaceError("A worker ended while it loaded the model; see the log for the reason.") from None
            raise
        self.ready += 1
        return worker

    async def _serve(self, worker: Worker) -> None:
        try:
            while True:
                job = await self._jobs.get()
                if job.done.done():  # its client left
                    continue
                if not await self._did(worker, job):
                    self.ready -= 1
                    self._on_restart()
                    await self._in_thread(worker.end)
                    worker = await self._replacement()
        finally:
            worker.end(STOP_S)

    async def _did(self, worker: Worker, job: Job) -> bool:
        """Do a job. False: the worker is lost."""
        if job.until < asyncio.get_running_loop().time():
            _fail(job, _waited_too_long())
            return True
        self.busy += 1
        try:
            result = await self._in_thread(worker.ask, job.call, self._limits.work_s)
        except Refusal as refusal:
            _fail(job, refusal)
        except ComfaceError as error:
            _fail(job, refusal_of(error))
        except TimeoutError:
            logger.warning("a job took too long; its worker is replaced")
            _fail(job, Refusal(503, "took_too_long", "The photos took too long; use smaller ones, or try again."))
            return False
        except BrokenPipeError:  # it ended before this job: another worker does it
            self._jobs.put_nowait(job)
            return False
        except (EOFError, OSError):
            logger.warning("a worker ended while it worked on a photo; it is replaced")
            sentence = "A photo cannot be read: it ended the program that reads it; export it as JPEG."
            _fail(job, Refusal(422, "unreadable_photo", sentence))
            return False
        else:
            if not job.done.done():
                job.done.set_result(result)
        finally:
            self.busy -= 1
        return True

    async def _replacement(self) -> Worker:
        while True:
            try:
                return await self._made()
            except ComfaceError as error:
                logger.warning("a worker could not be replaced; next attempt in %g s: %s", AGAIN_S, error)
            await asyncio.sleep(AGAIN_S)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _waited_too_long() -> Refusal:
    return Refusal(503, "waited_too_long", "The service is busy; try again in a few seconds.", retry=True)


def _fail(job: Job, refusal: Refusal) -> None:
    if not job.done.done():
        job.done.set_exception(refusal)
