"""All cases of the benchmark on disk: inputs in one folder, their answers in another, so that no peer sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from benchmarks.deid import barcodes, study, writing
from benchmarks.deid.canary import Canary
from benchmarks.deid.needles import Search
from benchmarks.deid.plant import places
from benchmarks.deid.score import Action, Row
from cytoline.errors import CytolineError
from cytoline.images import read_image

Part = Literal["places", "text", "large", "barcodes", "clean", "study"]
PARTS: tuple[Part, ...] = ("places", "text", "large", "barcodes", "clean", "study")


@dataclass(frozen=True)
class Case:
    """One thing to be done.

    ``input`` is a folder with one image, and with what belongs to it.  A de-identifier gets that folder, or the
    folder of all inputs, and what it makes of it is judged against ``needles`` or against the ink in ``answer``.
    """

    name: str
    group: str
    """A format for hiding places, ``text/<condition>``, ``barcode/<kind>``, ``clean`` or ``study``."""
    action: Action
    input: Path
    needles: tuple[str | bytes, ...] = ()
    answer: Path | None = None
    mark: int = 0
    """The number of this case's ink in ``answer``."""
    readable: bool | None = None
    """For a barcode: whether a reader reads it."""


class NotPlantable(CytolineError):  # noqa: N818 (says what it is)
    """A hiding place that this file system does not have, such as extended attributes."""


def generate(folder: Path, parts: Sequence[Part] = PARTS) -> list[Case]:
    """Write ``folder/inputs`` and ``folder/answers``; the same cases every time.  Minutes for all parts.

    Raises ``FileExistsError`` where something is in the folder already, ``NotPlantable``.
    """
    makers: dict[Part, Callable[[Path, Path], Iterator[Case]]] = {
        "places": _places,
        "text": _text,
        "large": _large,
        "barcodes": _barcodes,
        "clean": _clean,
        "study": _study,
    }
    inputs, answers = folder / "inputs", folder / "answers"
    for made in (inputs, answers):
        made.mkdir(parents=True)
    return [case for part in parts for case in makers[part](inputs, answers)]


def removed(case: Case, output: Path) -> Row:
    """Whether none of the case's needles is in what was made of it.  A missing or empty folder is withheld."""
    withheld = not output.is_dir() or not any(output.rglob("*"))
    return Row(case.name, case.action, withheld or Search(case.needles).in_folder(output).gone, withheld)


def hidden(case: Case, output: Path | None, tolerance: int = 0) -> Row:
    """Whether the case's ink is covered in the output image; None is withheld.

    For text and barcodes; of a barcode nothing may be read any more either.
    """
    if output is None:
        return Row(case.name, case.action, True, withheld=True)
    if case.answer is None:
        raise ValueError("this case has no ink")
    marks = np.asarray(cv2.imread(str(case.answer), cv2.IMREAD_GRAYSCALE), np.uint8)
    before, after = read_image(image_of(case)), read_image(output)
    ink = np.equal(marks, case.mark)
    if case.readable is None:
        gone = writing.hidden(before, after, ink, tolerance)
    else:
        # Light modules may stay as light as the paper that they are painted like; nothing of the pattern may.
        grey = before.max(axis=2)
        dark = ink & (grey < (int(grey[ink].min()) + int(grey[ink].max())) / 2)
        gone = writing.covered(before, after, dark, tolerance) >= writing.FOUND
        gone = gone and writing.echo(before, after, ink) < writing.ECHO
        gone = gone and not set(case.needles) & set(barcodes.texts_in(after))
    return Row(case.name, case.action, gone)


def retained(case: Case, output: Path | None) -> Row:
    """Whether every pixel is as it was.  For clean fields."""
    if output is None:
        return Row(case.name, case.action, False, withheld=True)
    before, after = read_image(image_of(case)), read_image(output)
    return Row(case.name, case.action, before.shape == after.shape and bool((before == after).all()))


def image_of(case: Case) -> Path:
    """The one file of a text, barcode or clean case."""
    return next(path for path in sorted(case.input.iterdir()) if path.is_file())


def _folder(inputs: Path, *names: str) -> Path:
    made = inputs.joinpath(*(name.replace(",", "").replace("/", "_") for name in names))
    made.mkdir(parents=True)
    return made


def _places(inputs: Path, _: Path) -> Iterator[Case]:
    for place in places():
        canary, own = Canary.of(place.name), _folder(inputs, place.format, place.name)
        try:
            place.write(own, canary)
        except OSError:
            raise NotPlantable(f"{place.name} cannot be planted here", "use a folder on another file system") from None
        action = Action.TEXT_REMOVED if place.format == "names" else Action.TAG_REMOVED
        yield Case(place.name, place.format, action, own, canary.needles(place.carries))


def _text(inputs: Path, answers: Path) -> Iterator[Case]:
    return _written(writing.pages(), "text", inputs, answers)


def _large(inputs: Path, answers: Path) -> Iterator[Case]:
    return _written(writing.large_pages(), "large", inputs, answers)


def _written(pages: Iterator[writing.Page], part: Part, inputs: Path, answers: Path) -> Iterator[Case]:
    for page in pages:
        group = f"{part}/{page.condition.name}"
        own = _folder(inputs, part, f"{page.condition.name}-{page.number}")
        suffix, data = page.file
        (own / f"image{suffix}").write_bytes(data)
        answer = answers / f"{part}-{page.condition.name}-{page.number}.png"
        answer.write_bytes(page.answer)
        for mark, text in enumerate(page.texts, 1):
            name = f"{group}/{page.number * writing.PER_PAGE + mark - 1:02d}"
            yield Case(name, group, Action.PIXELS_HIDDEN, own, (text,), answer, mark)


def _barcodes(inputs: Path, answers: Path) -> Iterator[Case]:
    for label in barcodes.labels():
        own = _folder(inputs, "barcode", label.name)
        suffix, data = label.file
        (own / f"image{suffix}").write_bytes(data)
        answer = answers / f"barcode-{label.name}.png"
        cv2.imwrite(str(answer), label.ink.astype("uint8"))
        name, group = f"barcode/{label.name}", f"barcode/{label.kind}"
        yield Case(name, group, Action.PIXELS_HIDDEN, own, (label.value,), answer, 1, label.readable)


def _clean(inputs: Path, _: Path) -> Iterator[Case]:
    for number, field in enumerate(barcodes.clean_fields()):
        own = _folder(inputs, "clean", f"{number:02d}")
        (own / "image.png").write_bytes(barcodes.coded(field)[1])
        yield Case(f"clean/{number:02d}", "clean", Action.PIXELS_RETAINED, own)


def _study(inputs: Path, _: Path) -> Iterator[Case]:
    """One case for the folder; ``study.judge`` gives its rows."""
    own = _folder(inputs, "study", "two-patients")
    study.write(own)
    yield Case("study", "study", Action.UID_CONSISTENT, own)
