"""Which project modules a module runs: the honest half of a DVC stage's ``deps``.

``python -m cytoline.closure stages/collect`` prints them, ready for ``dvc.yaml``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cytoline.errors import CytolineError

PROJECT_PACKAGES = frozenset({"cytoline", "stages"})
"""Only these (and the package that the question is about) are looked into, so that a root that is
``site-packages`` does not drag in the world."""


def import_closure(module_file: Path, root: Path = Path()) -> set[Path]:
    """Project files that importing ``module_file`` may run, itself and package ``__init__`` files included.

    ``root`` is the folder that holds the packages; paths come back relative to it (absolute if outside).
    Found by reading, not running: imports inside functions, behind ``if`` and ``import_module("literal")``
    count too.  Modules named by a computed string cannot be seen: import them plainly somewhere.
    """
    root = root.resolve()
    first = module_file.resolve()
    packages = PROJECT_PACKAGES | ({first.relative_to(root).parts[0]} if first.is_relative_to(root) else set())
    found: set[Path] = set()
    waiting = [first, *_inits(first, root)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imported_names(path, _module_name(path, root)):
            if name.split(".")[0] in packages:
                waiting.extend(_files(name, root))
    return {path.relative_to(root) if path.is_relative_to(root) else path for path in found}


def stage_file(stage: Path) -> Path:
    """The file that ``python -m`` runs for ``stages/x``, ``stages/x.py`` or ``stages.x``."""
    if stage.suffix != ".py" and not stage.exists() and "/" not in str(stage):
        stage = Path(*str(stage).split("."))
    for path in (stage, stage.with_suffix(".py"), stage / "__main__.py"):
        if path.is_file():
            return path
    raise CytolineError(f"there is no stage {stage}", "give a folder or module under stages/")


def _imported_names(path: Path, module: str) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_call(node.func):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _absolute(module: str, level: int, package: str) -> str:
    if not level:
        return module
    parts = package.split(".")
    parts = parts[: len(parts) - (level - 1)]
    return ".".join([*parts, module] if module else parts)


def _is_import_call(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _files(name: str, root: Path) -> Iterator[Path]:
    """The files that importing ``name`` runs: its own and every parent package's; none if it is no module."""
    target = root.joinpath(*name.split("."))
    for path in (target / "__init__.py", target.with_name(target.name + ".py")):
        if path.is_file():
            yield path.resolve()
            break
    yield from _inits(target, root)


def _inits(path: Path, root: Path) -> Iterator[Path]:
    for folder in path.parents:
        if folder == root or not folder.is_relative_to(root):
            return
        if (folder / "__init__.py").is_file():
            yield (folder / "__init__.py").resolve()


def _module_name(path: Path, root: Path) -> str:
    if not path.is_relative_to(root):
        return path.stem
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def main(stages: Annotated[list[Path], typer.Argument(help="stages/NAME, one or more")]) -> None:
    """Print the project modules that a stage's `deps` must list, sorted."""
    files = {path for stage in stages for path in import_closure(stage_file(stage))}
    for path in sorted(files):
        typer.echo(path.as_posix())


if __name__ == "__main__":
    from cytoline.command import run

    run(main)
