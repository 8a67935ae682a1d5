"""``cytoline predict``: find and grade the cells of any image, with a picture, a COCO file and a page to look at."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cytoline import atomic
from cytoline.command import EXIT_USER_ERROR
from cytoline.drawing import Mark, draw
from cytoline.errors import CytolineError
from cytoline.fusion import MIRRORS, VIEWS
from cytoline.images import RGB, UnreadableImage, png_bytes, read_image
from cytoline.predict_page import Colours, Looked, page
from cytoline.progress import track

if TYPE_CHECKING:
    from cytoline.screening import Finding

DEFAULT_SCORE = 0.3


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why."""

    file: str
    reason: str


def working_score(project: Path) -> float:
    """The detector score that validation chose for the models of ``project`` (``dvc repro`` writes it there).

    Where it is not known, a moderate one, and a line on the terminal that says so.
    """
    try:
        value = json.loads((project / "metrics/detector.json").read_text(encoding="utf-8"))["operating_score"]
    except (OSError, ValueError, KeyError, TypeError):
        value = None
    if isinstance(value, int | float) and 0 <= value < 1:
        return float(value)
    Console(stderr=True).print(
        f"[yellow]no metrics lie beside these models: cells are shown from a detector score of {DEFAULT_SCORE} on[/] "
        "(--min-score sets another)"
    )
    return DEFAULT_SCORE


def working_views(project: Path) -> int:
    """How often fields were looked at when the models of ``project`` were judged (``detect.views``)."""
    try:
        value = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))["detect"]["views"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return VIEWS
    return value if isinstance(value, int) and 1 <= value <= len(MIRRORS) else VIEWS


def names_for(images: Sequence[Path]) -> list[str]:
    """A safe, distinct stem for each image's files in the output folder."""
    taken: Counter[str] = Counter()
    names = []
    for image in images:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", image.stem).strip("_")[:80] or "image"
        while taken[stem.casefold()]:
            taken[stem.casefold()] += 1
            stem = f"{stem}-{taken[stem.casefold()]}"
        taken[stem.casefold()] = 1
        names.append(stem)
    return names


def read(path: Path) -> RGB:
    """The pixels; raises ``CytolineError`` with a reason fit for a table."""
    if path.is_dir():
        raise CytolineError("it is a folder", "name the images in it")
    try:
        return read_image(path)
    except UnreadableImage as error:
        raise CytolineError(error.detail, error.remedy) from None
    except OSError as error:
        raise CytolineError(error.strerror or type(error).__name__, "check the path") from None


def overlay(image: RGB, findings: Sequence[Finding], colours: Colours) -> bytes:
    """PNG of the image with a box per finding; those taken for background are dashed, grey and without words."""
    marks = [
        Mark(item.bbox, "", colours.background, dashed=True)
        if item.label not in colours.of
        else Mark(item.bbox, f"{item.label} {item.probabilities[item.label]:.0%}", colours.of[item.label])
        for item in reversed(findings)
    ]
    return png_bytes(draw(image, marks))


def coco_results(number: int, findings: Sequence[Finding], classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO results of one image, plus what each stage says.  ``score`` is detector score x class probability."""
    return [
        {
            "image_id": number,
            "category_id": list(classes).index(item.grade) + 1,
            "bbox": [round(value, 2) for value in item.bbox],
            "score": round(item.score, 6),
            "label": item.label,
            "detector_score": round(item.detector_score, 6),
            "probabilities": {name: round(value, 6) for name, value in item.probabilities.items()},
        }
        for item in findings
    ]


def write(out: Path, looked: Sequence[Looked], skipped: Sequence[Skipped], classes: Sequence[str], text: str) -> None:
    """predictions.json (COCO results), images.json (the COCO data set they belong to) and index.html."""
    results = [row for number, item in enumerate(looked, 1) for row in coco_results(number, item.findings, classes)]
    listing = {
        "images": [
            {"id": number, "file_name": item.file, "width": item.width, "height": item.height, "overlay": item.overlay}
            for number, item in enumerate(looked, 1)
        ],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
        "skipped": [{"file_name": item.file, "reason": item.reason} for item in skipped],
    }
    atomic.write_text(out / "predictions.json", json.dumps(results, indent=1, ensure_ascii=True) + "\n")
    atomic.write_text(out / "images.json", json.dumps(listing, indent=1, ensure_ascii=True) + "\n")
    atomic.write_text(out / "index.html", text)


def show(looked: Sequence[Looked], skipped: Sequence[Skipped], classes: Sequence[str], out: Path) -> None:
    """A summary on the terminal."""
    table = Table(title="cells by most probable class")
    table.add_column("image", overflow="fold")
    for name in (*classes, "background"):
        table.add_column(name, justify="right")
    for item in looked:
        counts = Counter(finding.label for finding in item.findings)
        table.add_row(Text(item.file), *(str(counts[name]) for name in (*classes, "background")))
    console = Console()
    if looked:
        console.print(table)
    for lost in skipped:
        console.print(Text(f"skipped {lost.file}: {lost.reason}", style="yellow"), soft_wrap=True)
    console.print(
        Text(f"written to {out}: index.html, predictions.json, images.json, {len(looked)} overlays"), soft_wrap=True
    )


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(help="images: fields; or single cells, the nucleus in the middle, if that is what was trained"),
    ],
    out: Annotated[Path, typer.Option(help="folder for pictures, predictions.json and index.html")],
    models: Annotated[Path, typer.Option(help="folder with detector, upscaler and classifier")] = Path("models"),
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="lowest detector score; default: the one validation chose")
    ] = None,
    upscaler_file: Annotated[Path | None, typer.Option(help="weights, where upscale.method was `file`")] = None,
) -> None:
    """Find the cells of images and grade them.  For research: no diagnosis.

    Writes an overlay PNG per image, predictions.json (COCO results with probabilities) and a page.
    An image that cannot be read is reported and skipped; the exit code is then 2.
    """
    for stage in ("detector", "upscaler", "classifier"):
        if not (models / stage / "model_card.json").is_file():
            raise CytolineError(f"{models / stage} holds no model", "train the models first: `dvc repro`")
    if out.exists() and not out.is_dir():
        raise CytolineError(f"{out} is a file", "name a folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CytolineError(f"{out} cannot be made: {error.strerror}", "name another folder with --out") from None
    from cytoline.compute import core_count, prepare_torch

    prepare_torch(0, core_count())
    # PyTorch takes seconds to load: `cytoline --help` and the other commands do without it.
    from cytoline.screening import Screener

    project = models.absolute().parent
    screener = Screener(models, upscaler_file, working_views(project))
    score = working_score(project) if min_score is None and not screener.whole_images else min_score or 0.0
    colours = Colours.for_classes(screener.classes)
    looked: list[Looked] = []
    skipped: list[Skipped] = []
    for path, name in track(list(zip(images, names_for(images), strict=True)), len(images), "looking"):
        file = path.name.encode("utf-8", "replace").decode()
        try:
            image = read(path)
        except CytolineError as error:
            skipped.append(Skipped(file, error.cause))
            continue
        findings = screener.look(image, score)
        atomic.write_bytes(out / f"{name}.overlay.png", overlay(image, findings, colours))
        looked.append(Looked(file, f"{name}.overlay.png", image.shape[1], image.shape[0], findings))
    text = page(looked, [(item.file, item.reason) for item in skipped], colours, score, screener.whole_images)
    write(out, looked, skipped, screener.classes, text)
    show(looked, skipped, screener.classes, out)
    if skipped:
        raise typer.Exit(EXIT_USER_ERROR)
