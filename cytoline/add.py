"""``cytoline add``: bring a folder of images in, after showing what was understood of it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cytoline import atomic
from cytoline.compute import ComputeParams, worker_pool
from cytoline.errors import CytolineError
from cytoline.memo import Memo
from cytoline.params import PARAMS_FILE, load_taxonomy_name
from cytoline.progress import track
from cytoline.pseudonyms import ensure_key
from cytoline.registration import all_or_nothing, list_source, restore_later, track_with_dvc
from cytoline.sources.compose import compose
from cytoline.sources.examine import Examined, examine
from cytoline.sources.found import MEANING, WHATS, What
from cytoline.sources.guess import NOT_STATED, UNKNOWN, guess_kind, guess_rest
from cytoline.sources.listing import list_files
from cytoline.sources.params import INCOMING, NAME_PATTERN, CollectParams
from cytoline.sources.schema import SOURCE_FILE, UNPACKED, SourceInfo, check_source, load_source
from cytoline.taxonomy import Taxonomy

PHANTOM = "phantom"

_TITLES: dict[What, str] = {"file": "files", "entry": "list entries", "box": "boxes"}


def add(
    path: Annotated[Path, typer.Argument(help="folder of images and their annotations")],
    name: Annotated[str, typer.Option(help="what to call the source: data/incoming/NAME")],
    kind: Annotated[
        str | None,
        typer.Option(
            help="fields-coco, fields-voc, fields-csv-points, fields-plain, cells-folders, dicom or wsi-regions; "
            "guessed if not given"
        ),
    ] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="classes to use; another one starts a new list of sources")
    ] = None,
    patient_id: Annotated[
        str | None, typer.Option(help="each-file, column:NAME, or a regular expression on the path with a group")
    ] = None,
    slide_id: Annotated[str | None, typer.Option(help="the same for slides")] = None,
    organ: Annotated[str | None, typer.Option(help="cervix, thyroid, blood, ...")] = None,
    stain: Annotated[str | None, typer.Option(help="papanicolaou, giemsa, ...")] = None,
    mpp: Annotated[str | None, typer.Option(help="microns per pixel, or unknown")] = None,
    license: Annotated[str | None, typer.Option(help="SPDX name if there is one")] = None,  # noqa: A002 - the option
    legal_basis: Annotated[str | None, typer.Option(help="why the images may be used: consent, public, ...")] = None,
    annotations: Annotated[str | None, typer.Option(help="annotation file below PATH, if several could be it")] = None,
    images: Annotated[str | None, typer.Option(help="read only images below this folder of PATH")] = None,
    box_px: Annotated[float | None, typer.Option(help="fields-csv-points: side of the box round each point")] = None,
    cell_box_px: Annotated[float | None, typer.Option(help="cells-folders: side of the box round each nucleus")] = None,
    regions: Annotated[str | None, typer.Option(help="wsi-regions: grid, geojson, or a CSV file below PATH")] = None,
    region_px: Annotated[int | None, typer.Option(help="wsi-regions: side of a field of the grid")] = None,
    region_mpp: Annotated[float | None, typer.Option(help="wsi-regions: microns per pixel of the fields")] = None,
    alias: Annotated[
        list[str] | None, typer.Option(help="LABEL=CLASS, LABEL= to leave such boxes out; may be repeated")
    ] = None,
    link: Annotated[
        bool,
        typer.Option("--link/--copy", help="links instead of copies; DVC's cache copies all the same"),
    ] = False,
    only: Annotated[bool, typer.Option("--only", help="make it the only source of collect.sources")] = False,
    list_refused: Annotated[bool, typer.Option("--list-refused", help="also name each file left out")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Copy (or link) a folder into data/incoming, after a preview of what will be read from it."""
    console = Console(highlight=False, soft_wrap=True)
    target = _target(path, name)
    classes = Taxonomy.load(taxonomy or load_taxonomy_name())
    given = {
        "kind": kind,
        "patient_id": patient_id,
        "slide_id": slide_id,
        "organ": organ,
        "stain": stain,
        "microns_per_pixel": _mpp(mpp),
        "license": license,
        "legal_basis": legal_basis,
        "annotations": annotations,
        "images": images,
        "box_px": box_px,
        "cell_box_px": cell_box_px,
        "regions": regions,
        "region_px": region_px,
        "region_mpp": region_mpp,
        "label_aliases": _aliases(alias or []),
    }
    memo = Memo()
    info = understand(path, {key: value for key, value in given.items() if value is not None}, classes)
    with worker_pool(ComputeParams.load()) as pool, unpacked_beside(memo) as unpack_to:
        examined = examine(name, path, info, CollectParams.load(), memo, pool, unpack_to)
    console.print(preview(examined, classes))
    if list_refused:
        for note in examined.notes:
            # As Python writes it: a name may hold line ends and a terminal's control characters.
            detail = f" {note.detail!r}" if note.detail else ""
            console.print(f"{note.file!r}: {note.what} {note.reason}{detail}", markup=False)
    classes.require(examined.labels, f"source {name}")
    if not examined.kept:
        raise CytolineError("not one image of this folder can be used", "the table above counts the reasons")
    if not yes and not sys.stdin.isatty():
        _require_most(examined)
    if not yes and sys.stdin.isatty() and not typer.confirm(f"Keep this as {target}?", default=True):
        console.print("nothing was kept")
        raise typer.Exit(1)
    _keep(console, examined, target, taxonomy, link, only)


@contextmanager
def unpacked_beside(memo: Memo) -> Iterator[Path]:
    """A folder for frames and regions while they are looked at: where neither DVC nor git looks."""
    memo.root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="unpacked-", dir=memo.root.parent) as folder:
        yield Path(folder)


def understand(path: Path, given: dict[str, Any], taxonomy: Taxonomy) -> SourceInfo:
    """``source.yaml`` for the folder: what was given, over one that lies there, over guesses."""
    listing = list_files(path)
    if (path / SOURCE_FILE).exists():
        there = load_source(path.resolve()).model_dump(exclude_unset=True)
    else:
        there = guess_rest(
            given.get("kind") or guess_kind(listing, taxonomy, given.get("annotations")), listing, taxonomy
        )
    info = check_source({**there, **given}, "what was given")
    if info.kind == PHANTOM:
        raise CytolineError(
            "a phantom is not a folder of images", f"write a {SOURCE_FILE} like {INCOMING}/{PHANTOM}'s in a new folder"
        )
    return info


def _require_most(examined: Examined) -> None:
    """Nobody is there to ask: then at least half of the images must be usable."""
    reasons = examined.refused("file")
    left_out = sum(count for reason, count in reasons.items() if reason not in ("other_file", "duplicate"))
    if left_out > len(examined.kept):
        raise CytolineError(
            f"{left_out} of {left_out + len(examined.kept)} images would be left out, and nobody is there to ask",
            "mend what the table above counts, or say `--yes` if it is meant to be",
        )


def preview(examined: Examined, taxonomy: Taxonomy) -> Table:
    """What was understood, by count: no file is named."""
    info = examined.info
    table = Table(title=f"{examined.name}: what was understood", title_justify="left", show_header=False)
    patients = Counter(image.patient for image in examined.kept)
    rows = [
        ("kind", info.kind),
        ("organ, stain", f"{info.organ}, {info.stain}"),
        ("microns per pixel", _scales(examined)),
        ("license, legal basis", f"{info.license}, {info.legal_basis}"),
        ("images", f"{len(examined.kept)}{_sizes(examined)}"),
        ("patients", f"{len(patients)} by {info.patient_id}{_per(patients)}"),
        ("slides", str(len({image.slide for image in examined.kept}))),
        ("boxes", _box_size(examined)),
    ]
    if info.kind in UNPACKED:
        rows.insert(5, ("  taken out of", f"{len({image.found.origin for image in examined.kept})} files"))
    counts = Counter(taxonomy.find(label) or label for label in examined.labels)
    for label in sorted(counts, key=lambda item: (item not in taxonomy.classes, -counts[item])):
        known = label if label in taxonomy.classes else f"{_plain(label)} (not in the taxonomy {taxonomy.name})"
        rows.append((f"  {known}", str(counts[label])))
    for what in WHATS:
        left_out = sorted(examined.refused(what).items())
        rows.extend((f"{_TITLES[what]} left out: {MEANING[reason]}", str(n)) for reason, n in left_out)
    if cut := sum(note.count for note in examined.notes if note.reason == "clipped"):
        rows.append((MEANING["clipped"], str(cut)))
    for left, right in rows:
        table.add_row(*(_plain(cell).replace("[", r"\[") for cell in (left, right)))
    return table


def _plain(text: str) -> str:
    """``text``, but as Python writes it where it holds what drives a terminal (labels, a delivered source.yaml)."""
    return text if text.isprintable() else repr(text)


def _target(path: Path, name: str) -> Path:
    if not re.match(NAME_PATTERN, name):
        raise CytolineError(f"{name!r} cannot name a source", "use letters, digits, `-`, `_` and `.`, for example bccd")
    target = INCOMING / name
    if target.exists() or target.is_symlink() or target.with_name(f"{name}.dvc").exists():
        raise CytolineError(
            f"{target} is there already", f"choose another --name, or `dvc remove {target}.dvc` and delete the folder"
        )
    if not path.is_dir():
        raise CytolineError(f"{path} is not a folder", "give the folder that holds the images")
    if Path.cwd().is_relative_to(path.resolve()):
        raise CytolineError("that folder contains this repository", "give a folder that holds nothing but the images")
    return target


def _keep(console: Console, examined: Examined, target: Path, taxonomy: str | None, link: bool, only: bool) -> None:
    """Bring the files in and register them; an error or an interrupt takes every step back."""
    switched = taxonomy is not None and taxonomy != load_taxonomy_name()
    with all_or_nothing() as undo:
        restore_later(undo, PARAMS_FILE)
        undo.callback(shutil.rmtree, target, ignore_errors=True)
        _bring(examined, target, link)
        list_source(examined.name, taxonomy if switched else None, only or switched)
        key = ensure_key()
        tracked = track_with_dvc(target, undo)
    console.print(f"{target}: {len(examined.kept)} images, {tracked}", markup=False)
    console.print(key, markup=False)
    sources = CollectParams.load().sources
    if switched:
        console.print(f"params.yaml: taxonomy is now {taxonomy}, and {examined.name} is the only source")
    else:
        console.print(f"params.yaml: collect.sources is now {', '.join(sources)}", markup=False)
    if PHANTOM in sources and examined.name != PHANTOM:
        console.print(f"the synthetic source `{PHANTOM}` is still listed: take it out there to use real images alone")
    if vague := [key for key, value in examined.info if value in (UNKNOWN, NOT_STATED)]:
        console.print(f"please complete {target / SOURCE_FILE}: {', '.join(vague)}")
    if (side := examined.info.cell_box_px) and any(note.reason == "clipped" for note in examined.notes):
        console.print(
            f"cells at their picture's edge got a smaller box: `patches.min_px` in params.yaml of {side:g} x "
            "`patches.context` keeps them at the scale of the others",
        )
    console.print("next: `dvc repro`")


def _bring(examined: Examined, target: Path, link: bool) -> None:
    """The images, their annotations and licences; everything else stays where it is.

    Of what is unpacked only the files that gave something: a refused label of a slide is a name and nothing else.
    """
    listing = examined.listing
    images = () if examined.info.kind in UNPACKED else listing.images
    names = sorted({*images, *examined.used, *listing.notices})
    target.parent.mkdir(parents=True, exist_ok=True)
    size = sum(listing.files[name].stat().st_size for name in names)
    free = shutil.disk_usage(target.parent).free
    if not link and size > free:
        raise CytolineError(
            f"{size / 1e9:.1f} GB are to be copied and {free / 1e9:.1f} GB are free", "free some space, or use --link"
        )
    with atomic.rebuilt_folder(target) as fresh:
        for name in track(names, len(names), "linking" if link else "copying"):
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            _place(listing.files[name].resolve(), fresh / name, link)
        (fresh / SOURCE_FILE).write_text(compose(examined.info), encoding="utf-8")


def _place(original: Path, target: Path, link: bool) -> None:
    if not link:
        shutil.copyfile(original, target)
        return
    try:
        os.link(original, target)
    except OSError as error:
        raise CytolineError(
            f"hard links do not work here ({error.strerror})",
            "the folder must be on the same file system, and yours; else use --copy",
        ) from None


def _aliases(pairs: list[str]) -> dict[str, str | None] | None:
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise CytolineError(f"--alias {bad[0]!r} has no `=`", "write it as LABEL=CLASS")
    return {label: target or None for label, _, target in (pair.partition("=") for pair in pairs)} or None


def _mpp(text: str | None) -> float | str | None:
    try:
        return float(text) if text not in (None, UNKNOWN) else text
    except ValueError:
        return text


def _sizes(examined: Examined) -> str:
    sizes = sorted({(image.width, image.height) for image in examined.kept}, key=lambda size: (size[0] * size[1], size))
    if not sizes:
        return ""
    low, high = (f"{width} x {height}" for width, height in (sizes[0], sizes[-1]))
    return f", {low}" if len(sizes) == 1 else f", {low} to {high} ({len(sizes)} sizes)"


def _scales(examined: Examined) -> str:
    """What the source says, and what calibrated files say where they do."""
    own = Counter(f"{image.found.mpp:.4g}" for image in examined.kept if image.found.mpp is not None)
    said = str(examined.info.microns_per_pixel)
    parts = [f"{scale} in {count} images" for scale, count in sorted(own.items())]
    return "; ".join([*parts, f"else {said}"]) if parts else said


def _per(patients: Counter[str]) -> str:
    low, high = min(patients.values(), default=0), max(patients.values(), default=0)
    return f", {low} images each" if low == high else f", {low} to {high} images each"


def _box_size(examined: Examined) -> str:
    sides = [max(box.bbox[2:]) for image in examined.kept for box in image.boxes]
    return f"{len(sides)}, median longer side {median(sides):.0f} px" if sides else "none"


if __name__ == "__main__":
    from cytoline.command import run

    run(add)
