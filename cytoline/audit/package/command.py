"""``cytoline audit export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cytoline.audit.package import layout
from cytoline.audit.package.export import Exported
from cytoline.audit.package.export import export as write_package
from cytoline.audit.seals import read_seals, who_seals
from cytoline.audit.signing import PRIVATE


def export(
    ref: Annotated[str, typer.Argument(help="the model: a path (models/classifier), a sha256, or name@alias")],
    folder: Annotated[Path, typer.Argument(help="where the package goes; an older package there is replaced")],
    key: Annotated[
        Path | None, typer.Option(help="private key that signs (default: the one that seals, in .cytoline/keys)")
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="do not sign: such a package does not verify")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """Write everything about one model into a folder that an auditor can check without this repository.

    In it: the model, the tables of images and of the split, its figures, the approvals; `audit.html` to read;
    `ro-crate-metadata.json`, `sbom.cdx.json` and `croissant.json` for programs, each checked by its own validator
    before anything is kept; `compliance.json`; `reproduce.md`; and `package.sig`, which signs all of it. No images.

    The folder appears whole or not at all. It takes less than a minute and no network.

    Example: `cytoline audit export models/classifier out/classifier-package`
    """
    signer = None if unsigned else key or PRIVATE / f"{who_seals(read_seals(Path()), Path())}.pem"
    console = Console(stderr=True, highlight=False)
    with console.status("export") as status:
        made = write_package(ref, folder, signer, step=lambda name: status.update(f"export: {name}"))
    if as_json:
        typer.echo(json.dumps(_as_json(made, folder), indent=1, sort_keys=True))
    else:
        _print(made, folder)


def _as_json(made: Exported, folder: Path) -> dict[str, object]:
    return {
        "package": folder.as_posix(),
        "model": made.release.path,
        "dvc": made.release.item.md5,
        "weights_sha256": made.release.weights_sha256,
        "commit": made.release.commit,
        "files": made.files,
        "bytes": made.size,
        "key": made.key,
        "empty_rows": made.empty,
    }


def _print(made: Exported, folder: Path) -> None:
    release = made.release
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{release.name}  {release.path}  md5 {release.item.md5}")
    console.print(f"  commit   {release.commit or 'none: dvc.lock has changes that are not committed'}")
    console.print(f"  weights  sha256 {release.weights_sha256}")
    console.print(f"  package  {folder}: {made.files} files, {made.size / 1e6:.1f} MB; read {folder / layout.PAGE}")
    signed = f"signed with key {made.key}" if made.key else "NOT signed: `cytoline audit verify` will say so"
    console.print(f"  signed   {signed}")
    console.print(f"  rows     {made.empty} of the compliance maps are empty; the page shows them red")
