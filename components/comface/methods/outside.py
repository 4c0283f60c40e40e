"""The methods 'module:function': a function `(Sources) -> Encoder` of a user's own module.

The module is found on the Python path, as `import` finds it; the current folder is not added to it, so that what a run
imports does not depend on where it was started. On a cluster the module belongs into the image. What the function makes
is decided by the module's constant REVISION where it has one, else by the module's source: a change of either makes the
features anew.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import file_sha256
from comface.config.names import quoted
from comface.errors import ComfaceError, ConfigurationError
from comface.methods.encoder import Encoder, Sources, tried
from comface.methods.method import Method

FORM = "module:function"
REFERENCE = re.compile(r"(?=.{3,120}$)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def method(reference: str) -> Method:
    if not REFERENCE.fullmatch(reference):
        raise ConfigurationError(f"The method {quoted(reference)} is not of the form {FORM}; write it so.")
    return Method(
        reference,
        reference,
        functools.partial(_load, reference),
        functools.partial(_fields, reference),
        check=functools.partial(_source, reference),
    )


def _source(reference: str) -> Path:
    """The file of the module, in which the function stands. The module itself is not run, only packages around it."""
    module, _, function = reference.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ConfigurationError(f"The method '{reference}' names a module of Python itself; name one of your own.")
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ConfigurationError(
            f"The method '{reference}' needs the module '{module}', which is not on the Python path; install it, or "
            "put its folder on PYTHONPATH (on a cluster: into the image)."
        )
    path = Path(spec.origin)
    if function not in {name for node in _tree(reference, path).body for name in _names(node)}:
        raise ConfigurationError(f"The method '{reference}' needs '{function}', which {path} does not define; add it.")
    return path


def _fields(reference: str, _: Sources) -> Mapping[str, Any]:
    path = _source(reference)
    for node in _tree(reference, path).body:
        if "REVISION" in _names(node) and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            return {"revision": node.value.value}
    return {"source_sha256": file_sha256(path)}


def _tree(reference: str, path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigurationError(f"The method '{reference}' cannot be read ({error}); correct {path}.") from None


def _names(node: ast.stmt) -> list[str]:
    """What a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _load(reference: str, sources: Sources) -> Encoder:
    """Raises ConfigurationError for a function that does not give a usable Encoder, with what went wrong in it."""
    _source(reference)
    module, _, function = reference.partition(":")
    try:
        encoder = getattr(importlib.import_module(module), function)(sources)
    except ComfaceError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"The method '{reference}' failed ({type(error).__name__}: {error}); correct the function."
        ) from error
    if not isinstance(encoder, Encoder):
        raise ConfigurationError(
            f"The method '{reference}' gives {type(encoder).__name__}, not a comface.methods.encoder.Encoder; return "
            "one."
        )
    return tried(encoder, reference)
