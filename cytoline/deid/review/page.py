"""The page that a reviewer looks at: every image that is kept back, where the suspicion lies, and what to type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from cytoline.crosswalk import write_private
from cytoline.deid.audit import Reason
from cytoline.deid.orientation import read_orientation, turn_pixels
from cytoline.deid.polygon import Polygon
from cytoline.deid.review.decisions import Box, Decision, Stated
from cytoline.deid.review.quarantine import Held, original_of
from cytoline.deid.review.template import TEMPLATE
from cytoline.drawing import fitted, jpeg_uri
from cytoline.errors import CytolineError
from cytoline.images import RGB, UnreadableImage, read_image
from cytoline.page import render

LARGEST_PX, SMALLEST_PX = 900, 450
"""The longer side as it is shown; a small picture is enlarged, for there is something to be found in it."""
TICK_PX = 50
"""Shown pixels between two numbers along the edges, at least."""
SHORT = 12
"""Digits of a pseudonym in a command: unique in any archive, and ``cytoline review`` says so if not."""

WORDS: dict[Reason, str] = {
    "unreadable": "The file is damaged, or no image at all.",
    "too_large": "The picture has more pixels than `anonymize.max_megapixels` allows.",
    "unsupported": "The file is of a kind that cannot be made anew safely.",
    "size_differs": "The picture has another size than when it was collected.",
    "text_remains": "Text was found again after every round of painting.",
    "barcode_like": "A place looks like a barcode, and nobody can read it.",
    "pen_or_handwriting": "Strokes look like a pen's; somebody may have written on the slide.",
    "doubtful_text": "The text reader saw something that may be writing.",
    "check_failed": "What was made of it did not pass the last check: something that names a person may be in it.",
}
"""Why an image is kept back, for people."""


@dataclass(frozen=True)
class Card:
    """One image on the page; ``picture`` is an SVG, or None where there is nothing to show."""

    held: Held
    words: str
    picture: Markup | None
    size: tuple[int, int] | None
    decision: Decision | None
    boxes: tuple[Box, ...]

    @property
    def command(self) -> str:
        """What to type, up to the decision."""
        return f".venv/bin/cytoline review {self.held.image_id[:SHORT]} --decide"

    @property
    def box_options(self) -> str:
        """The suspected places as options, or the form of one."""
        return " ".join("--box " + ",".join(map(str, box)) for box in self.boxes) or "--box X,Y,WIDTH,HEIGHT"

    @property
    def rejection(self) -> Stated:
        """The likeliest reason to reject it."""
        return "identifier_remains" if self.size is not None else "not_usable"


def write_page(
    folder: Path, quarantine: Path, rows: Sequence[Held], decisions: Mapping[str, Decision], max_pixels: int
) -> Path:
    """Write ``folder/index.html``, readable by its owner alone; what nobody decided about comes first."""
    ordered = sorted(rows, key=lambda row: (row.image_id in decisions, not row.releasable, row.image_id))
    cards = [card_of(row, quarantine, decisions.get(row.image_id), max_pixels) for row in ordered]
    html = render(TEMPLATE, cards=cards)
    path = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, html)
    except (OSError, CytolineError):
        raise CytolineError("the page cannot be written there", "name a folder that you may write") from None
    return path


def card_of(row: Held, quarantine: Path, decision: Decision | None, max_pixels: int) -> Card:
    """One image.  Whatever its file holds, there is a card."""
    upright = upright_of(quarantine, row.image_id, max_pixels)
    size = None if upright is None else (upright.shape[1], upright.shape[0])
    picture = None if upright is None else _picture(upright, row.regions)
    boxes = tuple(bounds(region) for region in row.regions)
    return Card(row, WORDS[row.reason], picture, size, decision, boxes)


def upright_of(quarantine: Path, image: str, max_pixels: int) -> RGB | None:
    """The picture as the regions are numbered, or None where it cannot be read."""
    path = original_of(quarantine, image)
    if path is None:
        return None
    try:
        content = path.read_bytes()
        return turn_pixels(read_image(content, max_pixels), read_orientation(content))
    except UnreadableImage:
        return None


def bounds(region: Polygon) -> Box:
    """The upright box round a region."""
    xs, ys = [x for x, _ in region], [y for _, y in region]
    left, top = max(0, min(xs)), max(0, min(ys))
    return left, top, max(1, max(xs) - left + 1), max(1, max(ys) - top + 1)


def _picture(upright: RGB, regions: Sequence[Polygon]) -> Markup:
    """The picture with outlines and, along two sides, the pixel numbers that ``--box`` wants."""
    height, width = upright.shape[:2]
    longest = max(width, height)
    unit = longest / min(LARGEST_PX, max(SMALLEST_PX, longest))
    edge = 34 * unit
    parts = [
        f'<svg viewBox="{-edge:.1f} {-edge * 0.6:.1f} {width + edge:.1f} {height + edge * 0.6:.1f}" '
        f'style="max-width:{width / unit + 34:.0f}px" role="img" aria-label="the private image">',
        f'<image href="{jpeg_uri(fitted(upright, LARGEST_PX))}" width="{width}" height="{height}"/>',
        *_rulers(width, height, unit),
    ]
    for number, region in enumerate(regions, start=1):
        points = " ".join(f"{x},{y}" for x, y in region)
        x, y, _, _ = bounds(region)
        parts.append(f'<polygon class="halo" points="{points}" stroke-width="{5 * unit:.2f}"/>')
        parts.append(f'<polygon class="region" points="{points}" stroke-width="{2.4 * unit:.2f}"/>')
        size, at = 14 * unit, (x, y - 5 * unit if y > 20 * unit else y + 14 * unit)
        parts.append(f'<text class="number" x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size:.1f}">{number}</text>')
    return Markup("".join([*parts, "</svg>"]))  # nosec: numbers only, and a data: address of our own


def _rulers(width: int, height: int, unit: float) -> list[str]:
    """Ticks at round numbers, the same distance both ways."""
    step = _round_step(TICK_PX * unit)
    style = f'class="ruler" font-size="{11 * unit:.1f}"'
    across = [
        f'<text {style} x="{x}" y="{-5 * unit:.1f}" text-anchor="{"middle" if x else "start"}">{x}</text>'
        f'<path class="tick" d="M{x} {-4 * unit:.1f}V0" stroke-width="{unit:.2f}"/>'
        for x in range(0, width, step)
    ]
    down = [
        f'<text {style} x="{-6 * unit:.1f}" y="{y + 4 * unit:.1f}" text-anchor="end">{y}</text>'
        f'<path class="tick" d="M{-4 * unit:.1f} {y}H0" stroke-width="{unit:.2f}"/>'
        for y in range(step, height, step)
    ]
    return across + down


def _round_step(at_least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... that is not less."""
    power = 1
    while power * 5 < at_least:
        power *= 10
    return next(power * factor for factor in (1, 2, 5) if power * factor >= at_least)
