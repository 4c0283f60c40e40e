"""benchmarks/gpu.sh: each part and the whole are bounded, a table ends it, and missing packages are named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.sh"
BEFORE, AFTER = "# The parts, in", '\nexit "$FAILED"'


@pytest.fixture
def run(tmp_path: Path):
    """Run the script with other parts in place of its own."""

    def with_parts(parts: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        text = SCRIPT.read_text("utf-8")
        head, rest = text.split(BEFORE)
        script = tmp_path / "benchmarks" / "gpu.sh"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"{head}\n{parts}\n{AFTER}{rest.split(AFTER)[1]}", "utf-8")
        return subprocess.run(
            ["bash", str(script), "--dry", "--output", str(tmp_path / "logs"), *options],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHON": sys.executable, **environment},
        )

    return with_parts


def table(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines() if line.startswith("| ")]


def test_a_part_that_fails_or_hangs_does_not_stop_the_others(run, tmp_path: Path) -> None:
    parts = "part bad 9 : 'echo one; exit 3'\npart hangs 1 : 'sleep 60'\npart good 9 : 'echo a; echo \"1 | 2\"'"
    done = run(parts)
    assert done.returncode == 1
    assert [row[:2] for row in table(done.stdout)[1:]] == [
        ["bad", "FAILED (3)"],
        ["hangs", "stopped after 4 s"],
        ["good", "passed"],
    ]
    assert table(done.stdout)[3][3] == "1 / 2"
    assert (tmp_path / "logs" / "good.log").read_text() == "a\n1 | 2\n"


def test_parts_that_no_time_is_left_for_are_named(run) -> None:
    done = run("part first 60 : 'sleep 3'\npart second 60 : 'echo never'", WHOLE_S="7")
    assert [row[:2] for row in table(done.stdout)[1:]] == [["first", "passed"], ["second", "not run: no time left"]]
    assert done.returncode == 1


def test_only_the_named_parts_run(run) -> None:
    done = run("part a 9 : 'echo a'\npart b 9 : 'echo b'", "--only", "b")
    assert [row[0] for row in table(done.stdout)[1:]] == ["b"]
    assert done.returncode == 0


def test_missing_packages_are_named_before_anything_runs(run, tmp_path: Path) -> None:
    """A Python without packages stands for a plain image."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.base_prefix}/bin/python3" -S -I "$@"\n', "utf-8")
    bare.chmod(0o755)
    done = run("part a 9 : 'echo a'", PYTHON=str(bare))
    assert done.returncode == 64
    assert "lacks" in done.stderr
    assert "dlib-bin" in done.stderr
    assert "simplejpeg" in done.stderr
    assert "--wheels DIR" in done.stderr
    assert done.stdout == ""
