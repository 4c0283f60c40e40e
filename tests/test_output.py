"""Where a command prints and writes: pipes without a reader, full disks, terminals without Unicode, closed folders."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import command

from comface.cli import main
from comface.errors import OutputLost
from comface.runtime.output import Output

PRINTING = (
    "--help",
    "--version",
    "run --help",
    "config",
    "config --fields",
    "directions list",
    "doctor",
    "doctor --json",
)


def ended(arguments: str, tmp_path: Path, **options: object) -> tuple[int, str]:
    """Exit code and standard error of the real command."""
    environment = {**os.environ, **options.pop("environment", {})}  # type: ignore[dict-item]
    done = subprocess.run(
        command(*arguments.split()), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, timeout=120,
        **{"stdout": subprocess.DEVNULL, **options},  # type: ignore[call-overload]
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", PRINTING)
def test_a_full_standard_output_is_one_sentence_and_code_75(arguments: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        code, said = ended(arguments, tmp_path, stdout=full)
    assert said == "comface: The output cannot be written (No space left on device); free some space, then run again.\n"
    assert code == 75


@pytest.mark.parametrize("arguments", ["--help", "config"])
def test_a_reader_that_left_is_no_success_and_no_word(arguments: str, tmp_path: Path) -> None:
    """`comface … | head`."""
    read, write = os.pipe()
    os.close(read)
    assert ended(arguments, tmp_path, stdout=write) == (OutputLost.exit_code, "")
    os.close(write)


def test_a_closed_standard_output_is_no_success(tmp_path: Path) -> None:
    done = subprocess.run(["sh", "-c", 'exec "$0" -m comface config >&-', sys.executable], cwd=tmp_path, check=False)
    assert done.returncode == OutputLost.exit_code


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_error_changes_no_exit_code(closed: str, tmp_path: Path) -> None:
    shell = f'exec "$0" -m comface verify {closed}'
    assert subprocess.run(["sh", "-c", shell, sys.executable], cwd=tmp_path, check=False).returncode == 64


@pytest.mark.parametrize("arguments", ["config --fields", "directions list"])
def test_an_output_without_unicode_gets_question_marks(arguments: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command(*arguments.split()), cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


@pytest.mark.parametrize("arguments", ["config", "doctor", "directions list", "compare ä.jpg ö.jpg"])
def test_a_locale_without_unicode_changes_nothing(arguments: str, tmp_path: Path) -> None:
    folder = tmp_path / "Übung"
    folder.mkdir()
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, said = ended(arguments, folder, environment=plain)
    assert (code, "defect" in said) == (65 if arguments.startswith("compare") else 0, False), said


def test_a_folder_that_is_gone_and_an_empty_argument_are_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, after in (
        (["run", "--output", ""], "--output"), (["doctor", "--store="], "--store"),
        (["compare", "", "b.jpg"], "compare"), (["submit", "--endpoint", ""], "--endpoint"), ([""], "comface"),
    ):  # fmt: skip
        assert main(arguments) == 64
        assert (
            capfd.readouterr().err == f"comface: The value after '{after}' is empty; give a value, or leave it out.\n"
        )
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for command_name in ("run", "config", "doctor"):
        assert main([command_name]) == 64
        assert "The current folder cannot be used" in capfd.readouterr().err


def test_no_text_commands_a_terminal() -> None:
    import pty

    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        Output(stream).write("\x1b]0;owned\x07 model\x1b[2J ü\n")
        stream.flush()
        assert re.fullmatch("�\\]0;owned� model�\\[2J ü\r\n", os.read(leader, 100).decode())
    os.close(leader)
    with pytest.raises(OutputLost):
        Output(None).write("x")


@pytest.mark.parametrize("arguments", ["run", "rehearse fgnet"])
@pytest.mark.parametrize(
    "place", ["/sys/kernel/none", "/proc/none", "/dev/null", "/dev/null/none", "/sys/kernel", "x" * 5000]
)
def test_a_folder_that_cannot_be_written_is_one_sentence_and_code_64(
    arguments: str, place: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments.split(), "--output", place]) == 64
    assert re.fullmatch(r"comface: .*--output .*; (choose|give|name) .*\.\n", capfd.readouterr().err)


def test_a_tmpdir_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    for place, code in (("/sys/kernel", 64), (tmp_path / "absent", 64), ("/dev/null", 64)):
        found, said = ended("config", tmp_path, environment={"TMPDIR": str(place)})
        assert found == code
        assert re.fullmatch(
            f"comface: TMPDIR \\('{place}'\\) is not writable .*; set it to a writable folder, .*\\.\n", said
        )


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("arguments", ["config", "run --output {}/out", "rehearse fgnet --output {}/out"])
def test_a_full_disk_is_one_sentence_and_code_75(arguments: str, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (full / "filler").write_bytes(bytes(1 << 16))
        scratch = {"TMPDIR": str(full)} if arguments == "config" else {}
        code, said = ended(arguments.format(full), tmp_path, environment=scratch)
        assert "full" in said
        assert "Traceback" not in said
        assert code in (64, 75)
    finally:
        subprocess.run(["umount", full], check=True)


def test_an_unexpected_exception_is_code_1_one_sentence_and_a_kept_traceback(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise KeyError("x\x1b[2J\ny")

    monkeypatch.setattr("comface.plan.chosen.Chosen.configuration", defect)
    assert main(["config"]) == 1
    said = capfd.readouterr().err
    found = re.fullmatch(
        r"comface: This is a defect of comface: KeyError in commands/runs\.py:\d+ \(.*\); please report it with "
        r"(\S+comface-defect-\w+\.txt)\.\n", said,
    )  # fmt: skip
    assert found is not None, said
    kept = Path(found[1])
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().startswith("Traceback")
    kept.unlink()
