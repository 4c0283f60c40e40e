"""`module:function` in a configuration: a function from a user's module that extends this package.

The module is imported from the Python path. The current folder is not added to the path, so that a run's imports do not
depend on where it was started. On a cluster, add the module to the image. The address of an artifact made with the
function contains the module's constant REVISION, or the sha256 of the module's source if it has none; a change of
either makes the artifacts again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.config.names import quoted
from comface.errors import ComfaceError, ConfigurationError

FORM = "module:function"
REFERENCE = re.compile(r"(?=.{3,120}$)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Outside:
    """`what`: the kind of thing, for messages ("method"). Every method of this class raises ConfigurationError."""

    what: str
    reference: str
    patients: bool = False
    """Whether its exceptions may quote names or labels of patients; messages then give their type and line only."""

    def __post_init__(self) -> None:
        if not REFERENCE.fullmatch(self.reference):
            raise ConfigurationError(
                f"The {self.what} {quoted(self.reference)} is not of the form {FORM}; write it in that form."
            )

    def __str__(self) -> str:
        return f"The {self.what} '{self.reference}'"

    def source(self) -> Path:
        """The module's file, after checking that it defines the function. Imports only the module's parent packages."""
        module, _, function = self.reference.partition(":")
        if module.partition(".")[0] in sys.stdlib_module_names:
            raise ConfigurationError(f"{self} is in a module of Python's standard library; name your own module.")
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):  # ValueError: `__main__`
            spec = None
        except Exception as error:
            raise ConfigurationError(
                f"{self} cannot be found: importing the package of '{module}' failed ({type(error).__name__}: "
                f"{error}); correct the package."
            ) from error
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise ConfigurationError(
                f"{self} needs the module '{module}', which is not on the Python path; install it, or add its folder "
                "to PYTHONPATH (on a cluster: add it to the image)."
            )
        path = Path(spec.origin)
        if function not in {name for node in self._tree(path).body for name in _names(node)}:
            raise ConfigurationError(f"{self} needs '{function}', which {path} does not define; add it.")
        return path

    def decided_by(self) -> dict[str, Any]:
        """The function's part of an artifact's address: its REVISION or the sha256 of its source."""
        path = self.source()
        for node in self._tree(path).body:
            if "REVISION" in _names(node) and isinstance(node, ast.Assign | ast.AnnAssign):
                value = node.value.value if isinstance(node.value, ast.Constant) else None
                if not isinstance(value, int | str):
                    raise ConfigurationError(f"{self} has a REVISION that is not a whole number or a text; write one.")
                return {"revision": value}
        return {"source_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    def call(self, *arguments: Any) -> Any:
        """The function's result. An exception becomes a ConfigurationError with its type; it is kept as the cause."""
        path = self.source()
        module, _, function = self.reference.partition(":")
        try:
            return getattr(importlib.import_module(module), function)(*arguments)
        except ComfaceError:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and type(error) is not SystemExit:
                raise  # SIGTERM; the function's own sys.exit() is an error like others
            raise ConfigurationError(f"{self} failed ({self._told(error, path)}); correct the function.") from error

    def _told(self, error: BaseException, path: Path) -> str:
        """The type of an exception, the line of the user's module that raised it, and its text unless `patients`."""
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        place = f" in line {lines[-1]} of {path.name}" if lines else ""
        return f"{type(error).__name__}{place}" + ("" if self.patients else f": {error}")

    def _tree(self, path: Path) -> ast.Module:
        try:
            return ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            raise ConfigurationError(f"{self} cannot be read ({error}); correct {path}.") from None


def _names(node: ast.stmt) -> list[str]:
    """The names that a top-level statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []
