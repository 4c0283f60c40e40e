"""What the service says when no worker process can be started, or none takes a job."""

from __future__ import annotations

import asyncio
import os
import resource

import pytest

from comface.errors import TryAgain
from comface.serve.limits import Limits, Refusal
from comface.serve.work import Recipe
from comface.serve.workers import Workers


def workers(limits: Limits) -> Workers:
    return Workers(Recipe("file:///nowhere", "comface@v1", 1, 1), 1, limits)


def test_a_worker_process_that_cannot_be_started_is_said_in_one_sentence() -> None:
    async def start() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.close(free := os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))  # no further file can be opened
        try:
            await workers(Limits()).start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with pytest.raises(TryAgain, match=r"^A process .* cannot be started \(Too many open files\); use fewer --workers"):
        asyncio.run(start())


def test_a_job_that_no_worker_takes_is_refused_in_time() -> None:
    async def ask() -> None:
        await workers(Limits(wait_s=0.01, work_s=0.01)).ask("look", b"", "1", False)

    with pytest.raises(Refusal) as refused:
        asyncio.run(asyncio.wait_for(ask(), 5))
    assert (refused.value.status, refused.value.reason, refused.value.retry) == (503, "waited_too_long", True)
