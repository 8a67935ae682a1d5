"""``cytoline deidentify`` and ``cytoline verify-deid``: make any folder anew, and look through any folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cytoline import atomic
from cytoline.compute import ComputeParams, worker_pool
from cytoline.deid import exiftool
from cytoline.deid.folder import Made, deidentify_folder
from cytoline.deid.identity import Identity
from cytoline.deid.locking import locked
from cytoline.deid.needles import LEAST
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.verify import Checked, Thoroughness, shown_name, verify_folder, withheld
from cytoline.deid.vocabulary import load_vocabulary
from cytoline.errors import CytolineError
from cytoline.pseudonyms import Pseudonyms, load_key

EXIT_FOUND = 1
SHOWN = 20
"""Files that are listed; the JSON has all."""

MEANING = {
    "metadata": "a field that can hold words",
    "value": "a field whose value is not of the kind that is allowed",
    "unused": "bytes that no pixel needs",
    "trailing": "bytes after the end",
    "damaged": "a structure that does not hold together",
    "unsupported": "nobody here can account for it",
    "name": "a name that is no pseudonym",
    "identifier": "one of the identifiers given",
    "text": "writing in the picture",
    "barcode": "a barcode in the picture",
    "ink": "strokes of a pen in the picture",
}


def verify_deid(
    path: Annotated[Path, typer.Argument(help="a folder or a file, for example data/clean")],
    identifiers: Annotated[
        Path | None, typer.Option(help="text file with a known identifier per line, searched for in every file")
    ] = None,
    pixels: Annotated[bool, typer.Option(help="also look for writing and barcodes (most of the time)")] = True,
    names: Annotated[bool, typer.Option(help="also judge the names of files and folders")] = True,
    show_names: Annotated[bool, typer.Option("--show-names", help="print names that may identify people")] = False,
    words: Annotated[
        Path | None,
        typer.Option(
            help="text file with further words, one per line, that a manifest may name (organ, stain, source)"
        ),
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="write every finding to this file")] = None,
) -> None:
    """Look for anything that could identify a person: in bytes, tags, names and pixels.

    Ends with 0 if nothing was found, 1 if something was, 2 if the question itself was wrong.  It never repeats what it
    found, only where.  No finding is no proof of anonymity: of handwriting only a marker's strokes are seen, and the
    tissue itself is not judged.
    """
    if not path.exists() and not path.is_symlink():
        raise CytolineError(
            "there is no such file or folder to look through", "check the path: `ls` shows what is there"
        )
    known = _identifiers(identifiers)
    thoroughness = Thoroughness(pixels, names, load_vocabulary(_identifiers(words)))
    with worker_pool(ComputeParams.load()) as pool:
        checked = verify_folder(path, known, AnonymizeParams.load(), thoroughness, pool)
    if as_json is not None:
        atomic.write_text(as_json, json.dumps(_rows(checked, path, show_names), indent=1) + "\n")
    console = Console(highlight=False, markup=False)
    _print(console, checked, path, show_names)
    if unsearched := sum(len(text) < LEAST for text in known):
        console.print(f"{unsearched} of the identifiers have fewer than {LEAST} characters and were not searched for")
    if not exiftool.available():
        console.print("exiftool is not here, so its check was left out (Debian: apt install libimage-exiftool-perl)")
    if not checked:
        raise CytolineError("there is no file to look through", "name a folder that holds some")
    if withheld(checked):
        raise typer.Exit(EXIT_FOUND)


def deidentify(
    path: Annotated[Path, typer.Argument(help="folder of images, slides (SVS, pyramidal TIFF) and DICOM files")],
    out: Annotated[Path, typer.Option(help="folder to make; must not be there yet")],
    pixels: Annotated[bool, typer.Option(help="also paint over writing and barcodes (most of the time)")] = True,
) -> None:
    """Make every file of a folder anew without identifiers, as what it is: to hand slides or DICOM files on.

    Pseudonyms, dates and UIDs follow the key of the archive, so that files of one person stay together.  What cannot be
    made anew is left out and counted; the originals are not touched.  (The pipeline does this to what it collects.)
    """
    if not path.is_dir():
        raise CytolineError("there is no such folder", "name the folder that holds the files")
    if out.resolve().is_relative_to(path.resolve()):
        raise CytolineError("the result would lie inside the source", "name a folder elsewhere")
    params = AnonymizeParams.load()
    if params.pseudonyms == "random":  # each worker would draw codes of its own
        raise CytolineError(
            "random pseudonyms are only for the pipeline's anonymize stage",
            "set `anonymize.pseudonyms: keyed` in params.yaml for this command",
        )
    names = Pseudonyms(load_key())
    with locked(out):
        if out.exists() or out.is_symlink():
            raise CytolineError(f"{out.name} is there already", "name a folder that is not there yet")
        made = _made_anew(path, out, Identity(names), params, pixels)
    console = Console(highlight=False, markup=False)
    done = [item for item in made if item.file is not None]
    console.print(f"{len(done)} of {len(made)} files made anew, {sum(item.painted for item in done)} of them painted")
    for (kind, reason), count in sorted(Counter((i.kind, i.reason) for i in made if i.file is None).items()):
        console.print(f"  left out: {count} x {kind}: {reason}")
    console.print(f"look at them: `cytoline verify-deid {out.name}`, and with your own eyes")


def _made_anew(path: Path, out: Path, identity: Identity, params: AnonymizeParams, pixels: bool) -> list[Made]:
    with atomic.rebuilt_folder(out) as fresh, worker_pool(ComputeParams.load()) as pool:
        return deidentify_folder(path, fresh, identity, params, pool, pixels=pixels)


def _identifiers(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise CytolineError("a list cannot be read", "give a UTF-8 text file, one entry a line") from None
    return [line.strip() for line in lines if line.strip()]


def _print(console: Console, checked: Sequence[Checked], root: Path, show_names: bool) -> None:
    bad = [item for item in checked if item.findings]
    kinds = Counter((finding.place, finding.why) for item in bad for finding in item.findings)
    if kinds:
        table = Table(title="what was found", title_justify="left")
        for title in ("where", "files", "what it is"):
            table.add_column(title, justify="right" if title == "files" else "left", overflow="fold")
        for (place, why), count in sorted(kinds.items(), key=lambda row: (-row[1], row[0])):
            table.add_row(place, str(count), MEANING[why])
        console.print(table)
        for item in bad[:SHOWN]:
            console.print(f"  {_name(item, root, show_names)}: {', '.join(sorted({f.why for f in item.findings}))}")
        if len(bad) > SHOWN:
            console.print(f"  and {len(bad) - SHOWN} more (--json writes all)")
    verdict = f"{len(bad)} of {len(checked)} files hold something" if bad else f"nothing found in {len(checked)} files"
    console.print(verdict)


def _name(item: Checked, root: Path, show_names: bool) -> str:
    return str(item.path) if show_names else shown_name(item.path, root)


def _rows(checked: Sequence[Checked], root: Path, show_names: bool) -> list[dict[str, Any]]:
    return [
        {
            "file": _name(item, root, show_names),
            "number": number,
            "findings": [{"place": finding.place, "why": finding.why} for finding in item.findings],
        }
        for number, item in enumerate(checked, start=1)
    ]
