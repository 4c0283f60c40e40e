"""The sentence of a crash: what was wrong, from logs as torch 2.x and its torchrun really print them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from playing import Played

from comface.launch.crash import last_error, signal_in
from comface.launch.local import failure

FRAME = """\
W1128 00:22:38.674000 11165 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 12 closing signal SIGTERM
E1128 00:22:38.676000 11165 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: {code}) local_rank: 1 (pid: 13) of binary: /usr/bin/python
Traceback (most recent call last):
  File "/usr/local/bin/torchrun", line 8, in <module>
    sys.exit(main())
             ^^^^^^
  File "/site-packages/torch/distributed/launcher/api.py", line 386, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n============================================================
comface.pretrain.worker FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-28_00:22:38
  host      : comface-run-7-master-0
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 12)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 12
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-28_00:22:38
  host      : comface-run-7-master-0
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 13)
  error_file: <N/A>
  traceback : {note}
============================================================
"""  # noqa: E501
WATCHDOG = """\
[rank1]:[E1128 00:22:38 ProcessGroupNCCL.cpp:632] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9)
terminate called after throwing an instance of 'c10::DistBackendError'
  what():  [PG ID 0 Rank 1] Process group watchdog thread terminated with exception: CUDA error: an illegal memory access
Exception raised from run at ProcessGroupNCCL.cpp:1 (most recent call first):
"""  # noqa: E501
STACK = "".join(f"frame #{number}: <unknown function> + 0xd{number} (0x7f in libstdc++.so.6)\n" for number in range(70))
PEER = "[rank0]: Traceback (most recent call last):\n[rank0]:  x()\n[rank0]: torch.DistBackendError: NCCL error: peer\n"
OWN = "[rank1]: Traceback (most recent call last):\n[rank1]:   y()\n[rank1]: {}\n"


def log(code: int, *said: str) -> str:
    note = "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"
    return "epoch 1, step 9\n" + "".join(said) + FRAME.format(code=code, note=note)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (log(-6, WATCHDOG, STACK), "[PG ID 0 Rank 1] Process group watchdog thread terminated with exception: "
         "CUDA error: an illegal memory access (ended by SIGABRT)"),
        (log(-11), "ended by SIGSEGV"),
        (log(-11, "Fatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n"),
         "Fatal Python error: Segmentation fault (ended by SIGSEGV)"),
        (log(-9), "ended by SIGKILL (for example because memory ran out: raise "
         "pretrain.job.memory_gib)"),
        (log(-7), "ended by SIGBUS (for example because /dev/shm is full: raise pretrain.job.shared_memory_gib)"),
        (log(1, OWN.format("torch.OutOfMemoryError: CUDA out of memory."), PEER),
         "torch.OutOfMemoryError: CUDA out of memory."),
        (log(1, PEER, OWN.format("StopIteration")), "StopIteration"),
        (log(1, "Traceback (most recent call last):\n  z()\nKeyError: 'x'\n"), "KeyError: 'x'"),
        (log(1, OWN.format("ValueError: first"), "[rank1]: During handling of the above exception:\n",
             OWN.format("RuntimeError: second")), "RuntimeError: second"),
        (log(3), "a process ended with exit code 3"),
        (log(1, "node1:12:99 [1] misc/socket.cc:50 NCCL WARN socketStartConnect: Connect to 10.0.0.2 failed\n"),
         "socketStartConnect: Connect to 10.0.0.2 failed"),
        (log(65, "error in pretrain: The loss is not finite.\n", PEER), "The loss is not finite."),
        (FRAME.format(code=-6, note="Signal 6 (SIGABRT) received by PID 13"), "ended by SIGABRT"),
        ("=======\n", ""),
    ],
)  # fmt: skip
def test_the_cause_is_said_and_not_torchruns_frame(text: str, sentence: str) -> None:
    assert last_error(text) == sentence


@pytest.mark.parametrize(
    ("code", "name"), [(139, "SIGSEGV"), (134, "SIGABRT"), (-6, "SIGABRT"), (1, ""), (255, ""), (0, "")]
)
def test_an_exit_code_of_a_signal_is_named(code: int, name: str) -> None:
    assert signal_in(code) == (f"ended by {name}" if name else "")


def test_the_sentence_of_a_job_is_the_cause_also_where_a_long_stack_follows_it(launch) -> None:
    def crash(job: Played) -> None:
        job.start()
        job.cluster.log(job.pods[1], *log(-6, WATCHDOG, STACK).splitlines())
        job.end_container(1, 1, message=log(-6, STACK)[-2048:])
        job.fail()

    ending = launch(crash)
    assert ending.code == 1
    assert "exit code 1: [PG ID 0 Rank 1] Process group watchdog thread terminated" in ending.sentence
    assert "(ended by SIGABRT)" in ending.sentence
    assert "====" not in ending.sentence
    assert ending.said.count("frame #") < 41, "the end of the log is shown, not all of it"


def test_a_container_that_is_killed_names_its_signal_also_without_a_log(launch) -> None:
    def killed(job: Played) -> None:
        job.start()
        job.end_container(0, 139)
        job.fail()

    assert "exit code 139: ended by SIGSEGV" in launch(killed).sentence


def test_on_one_machine_the_cause_is_said_too() -> None:
    assert str(failure("", log(-6, WATCHDOG))).startswith("A process of the training failed: [PG ID 0 Rank 1]")


@pytest.mark.system
@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("os.abort()", "ended by SIGABRT"),
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL (for example because memory ran out"),
        ("raise LookupError('the true cause')", "LookupError: the true cause"),
        ("sys.exit(3)", "a process ended with exit code 3"),
    ],
)
def test_the_torchrun_that_is_installed_prints_what_is_read_here(tmp_path: Path, code: str, sentence: str) -> None:
    script = tmp_path / "worker.py"
    script.write_text(f"import os, sys, time\nif os.environ['RANK'] == '1':\n    {code}\ntime.sleep(20)\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert last_error(done.stdout + done.stderr).startswith(sentence)
