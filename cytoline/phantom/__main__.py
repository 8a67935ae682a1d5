"""Render a phantom by hand: ``python -m cytoline.phantom OUT [--source data/incoming/phantom/source.yaml]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from cytoline import atomic
from cytoline.command import run
from cytoline.errors import CytolineError
from cytoline.phantom import PhantomSpec, render_phantom

SOURCE = Path("data/incoming/phantom/source.yaml")


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write; replaced when it exists.")],
    source: Annotated[Path, typer.Option(help="source.yaml whose `phantom:` mapping says what to render.")] = SOURCE,
    seed: Annotated[int | None, typer.Option(help="Instead of the seed in source.yaml.")] = None,
) -> None:
    """Render the phantom's source folder."""
    try:
        loaded = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        raise CytolineError(f"{source} cannot be read as YAML", "give another one with --source") from None
    mapping = loaded.get("phantom") if isinstance(loaded, dict) else None
    if not isinstance(mapping, dict):
        raise CytolineError(f"{source} has no `phantom:` mapping", "take data/incoming/phantom as an example")
    spec = PhantomSpec.read(mapping if seed is None else {**mapping, "seed": seed}, str(source))
    with atomic.rebuilt_folder(out) as folder:
        render_phantom(spec, folder)


if __name__ == "__main__":
    run(main)
