"""Which code made an artifact: one digest over all of this package that a step can run.

In: a module's name. Out: the sha256 over its source, the source of all modules of this package that it imports
(directly or not, also inside functions), the packages around them, and the data files that lie in those packages
(directions, templates). Only names are followed; nothing is imported.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "comface"
ROOT = Path(__file__).parents[1]


@functools.cache
def code_digest(module: str) -> str:
    return digest_of(module, ROOT)


def digest_of(module: str, root: Path) -> str:
    """`code_digest` for a package that lies at `root` (another checkout, a test's copy)."""
    todo, files = [module], {}
    while todo:
        name = todo.pop()
        path = _source(name, root)
        if path is None or path in files:
            continue
        files[path] = path.read_bytes()
        todo.append(name.rpartition(".")[0])
        todo += _imports(files[path], name if path.name == "__init__.py" else name.rpartition(".")[0])
        if path.name == "__init__.py" and path.parent != root:
            files.update((data, data.read_bytes()) for data in _data_files(path.parent))
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(root).as_posix()} {len(files[path])}\n".encode() + files[path])
    return digest.hexdigest()


def _source(name: str, root: Path) -> Path | None:
    package, *parts = name.split(".")
    if package != PACKAGE:
        return None
    path = root.joinpath(*parts)
    for candidate in (path / "__init__.py", path.with_suffix(".py") if parts else None):
        if candidate is not None and candidate.is_file():
            return candidate
    return None


def _imports(source: bytes, package: str) -> Iterator[str]:
    """Every name that could be a module: `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _data_files(folder: Path) -> Iterator[Path]:
    """Files of a package that are not code, without those of packages below it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").is_file():
            yield from _data_files(path)
        elif path.is_file() and path.suffix not in (".py", ".pyc"):
            yield path
