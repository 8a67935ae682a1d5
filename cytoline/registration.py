"""Making a new source part of the project: params.yaml, DVC, and the way back if something fails."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.params import PARAMS_FILE

SECURE = "secure"
"""Name of the one remote that images with identifiers may go to."""


@contextmanager
def all_or_nothing() -> Iterator[ExitStack]:
    """Callbacks put on the stack run if the block fails or is interrupted, newest first; else they are dropped."""
    with ExitStack() as undo:
        yield undo
        undo.pop_all()


def restore_later(undo: ExitStack, path: Path) -> None:
    """On failure, give ``path`` the content that it has now (or its absence)."""
    before = path.read_bytes() if path.is_file() else None

    def restore() -> None:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            atomic.write_bytes(path, before)

    undo.callback(restore)


def list_source(name: str, taxonomy: str | None, only: bool, path: Path = PARAMS_FILE) -> None:
    """Add ``name`` to ``collect.sources``, comments untouched; ``taxonomy`` replaces the taxonomy if given."""
    yaml = _yaml()
    loaded: Any = yaml.load(path.read_text(encoding="utf-8"))
    sources = loaded["collect"]["sources"]
    if only:
        sources.clear()
    if name not in sources:
        sources.append(name)
    if taxonomy is not None:
        loaded["taxonomy"] = taxonomy
    atomic.write_text(path, _dumped(yaml, loaded))


def track_with_dvc(folder: Path, undo: ExitStack) -> str:
    """``dvc add`` the folder and keep it off the default remotes.  Returns one line that says where it may go."""
    if not Path(".dvc").is_dir():
        return "this is not a DVC repository, so the images are not tracked: `dvc init`, then `dvc add` the folder"
    pointer = folder.with_name(folder.name + ".dvc")
    restore_later(undo, pointer)
    restore_later(undo, folder.with_name(".gitignore"))
    secure = any(line.split()[:1] == [SECURE] for line in _dvc("remote", "list").splitlines())
    _dvc("add", "--quiet", str(folder))
    yaml = _yaml()
    loaded: Any = yaml.load(pointer.read_text(encoding="utf-8"))
    for out in loaded["outs"]:
        out.update({"remote": SECURE} if secure else {"push": False})
    atomic.write_text(pointer, _dumped(yaml, loaded))
    return f"pushed only to the remote `{SECURE}`" if secure else "tracked by DVC and never pushed (`push: false`)"


def _dvc(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CytolineError(
            f"`dvc {arguments[0]}` failed: {said[-1] if said else f'exit code {done.returncode}'}",
            "nothing was kept; put that right (is another dvc command running?) and add the folder again",
        )
    return done.stdout


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _dumped(yaml: YAML, loaded: Any) -> str:
    text = io.StringIO()
    yaml.dump(loaded, text)
    return text.getvalue()
