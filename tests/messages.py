"""Every sentence that the program can say, read from its source: errors, log lines and answers, module by module.

`python tests/messages.py` writes tests/data/messages.txt anew. What a sentence fills in stands as {…}.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "components" / "comface"
SNAPSHOT = Path(__file__).with_name("data") / "messages.txt"
ERRORS = (
    "ComfaceError", "ConfigurationError", "DataError", "GateRefused", "TryAgain", "OutputLost", "Preempted", "Refused",
    "NoAnswer", "NotPermitted", "TooLargeError", "Forbidden", "NoUsableFace", "TooManyPixels", "ValueError",
    "UsageError",
)  # fmt: skip
LEVELS = ("debug", "info", "warning", "error", "critical")


def text_of(node: ast.expr) -> str | None:
    """The text of a literal, of an f-string, or of both joined by `+`; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{…}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or "{…}") + (text_of(node.right) or "{…}")
    return None


def kind_of(call: ast.Call) -> str | None:
    """`DataError`, `log.warning`, `say`; None for a call that says nothing."""
    function = call.func
    if isinstance(function, ast.Name) and (function.id in ERRORS or function.id == "say"):
        return function.id
    if isinstance(function, ast.Attribute):
        if function.attr in ERRORS:
            return function.attr
        if function.attr in LEVELS and isinstance(function.value, ast.Name) and function.value.id == "logger":
            return f"log.{function.attr}"
    return None


def messages(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, kind, sentence) of each message of a module, in order."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and node.args and (kind := kind_of(node)):
            texts = [text for argument in node.args if (text := text_of(argument))]
            if texts and any(character.isalpha() for character in texts[0].replace("{…}", "")):
                yield node.lineno, kind, " ".join("; ".join(texts).split())


def snapshot() -> str:
    lines = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found = [f"  {kind}: {text}" for _, kind, text in sorted(messages(path))]
        if found:
            lines += [path.relative_to(PACKAGE).as_posix(), *found, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), "utf-8")
    print(f"wrote {SNAPSHOT.relative_to(ROOT)}")
