"""Boxes and grades over an image, and images inside a page.  Used by the report and by ``cytoline predict``."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageColor, ImageDraw, ImageFont

from cytoline.images import RGB, png_bytes, resize
from cytoline.manifest import BBox

_FONT = "sans-serif"
JPEG_QUALITY = 82


@dataclass(frozen=True)
class Mark:
    """One box.  ``colour`` is "#rrggbb"; a dashed box is one that something is wrong with."""

    bbox: BBox
    text: str
    colour: str
    dashed: bool = False


def draw(image: RGB, marks: Sequence[Mark]) -> RGB:
    """``image`` (uint8 [H, W, 3]) with the marks painted in; lines and text grow with the image."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(image.shape[:2]) / 400))
    font = ImageFont.load_default(size=max(11.0, max(image.shape[:2]) / 75))
    for mark in marks:
        x, y, w, h = mark.bbox
        corners = (x, y, x + w, y + h)
        _outline(pen, corners, mark, line)
        _tag(pen, (x, y), mark, font, line)
    return np.asarray(picture, dtype=np.uint8)


def svg_marks(marks: Sequence[Mark], unit: float) -> Markup:
    """The marks as SVG elements in the image's own pixels; ``unit`` is the width of a line in them."""
    parts = []
    for mark in marks:
        x, y, w, h = (round(value, 1) for value in mark.bbox)
        dash = f' stroke-dasharray="{3 * unit:.1f} {2 * unit:.1f}"' if mark.dashed else ""
        title = Markup("<title>{}</title>").format(mark.text)
        parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="none" stroke="{mark.colour}" '
            f'stroke-width="{unit:.1f}" rx="{unit:.1f}"{dash}>{title}</rect>'
        )
        if mark.text:
            parts.append(_svg_tag(mark, x, y, unit))
    return Markup("".join(parts))  # nosec: every text above went through format, colours through ink_on


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on ``colour`` (WCAG 2 relative luminance)."""
    channels = [value / 255 for value in ImageColor.getrgb(colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def fitted(image: RGB, longest: int) -> RGB:
    """``image`` with its longer side at most ``longest``."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    return resize(image, (max(1, round(width * scale)), max(1, round(height * scale))), "area")


def jpeg_uri(image: RGB, quality: int = JPEG_QUALITY) -> str:
    """The image as a ``data:`` address, JPEG without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def png_uri(image: RGB) -> str:
    """The image as a ``data:`` address, not a pixel changed."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def _outline(pen: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], mark: Mark, line: int) -> None:
    if not mark.dashed:
        pen.rectangle(corners, outline=mark.colour, width=line)
        return
    left, top, right, bottom = corners
    for start, end in (
        ((left, top), (right, top)),
        ((right, top), (right, bottom)),
        ((right, bottom), (left, bottom)),
        ((left, bottom), (left, top)),
    ):
        length = abs(end[0] - start[0]) + abs(end[1] - start[1])
        count = max(1, int(length // (4 * line)))
        for part in range(0, 2 * count, 2):
            a, b = part / (2 * count), (part + 1) / (2 * count)
            pen.line(
                [
                    (start[0] + (end[0] - start[0]) * a, start[1] + (end[1] - start[1]) * a),
                    (start[0] + (end[0] - start[0]) * b, start[1] + (end[1] - start[1]) * b),
                ],
                fill=mark.colour,
                width=line,
            )


def _tag(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    mark: Mark,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
) -> None:
    if not mark.text:
        return
    left, top, right, bottom = pen.textbbox((0, 0), mark.text, font=font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    x = max(0.0, min(at[0], pen.im.size[0] - width))
    y = at[1] - height if at[1] >= height else at[1]
    pen.rectangle((x, y, x + width, y + height), fill=mark.colour)
    pen.text((x + line - left, y + line - top), mark.text, fill=ink_on(mark.colour), font=font)


def _svg_tag(mark: Mark, x: float, y: float, unit: float) -> str:
    size = 7 * unit
    width, height = (0.66 * len(mark.text) + 0.6) * size, 1.35 * size
    top = y - height if y >= height else y
    words = Markup("{}").format(mark.text)
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{mark.colour}"/>'
        f'<text x="{x + 0.3 * size:.1f}" y="{top + 1.0 * size:.1f}" font-size="{size:.1f}" font-family="{_FONT}" '
        f'fill="{ink_on(mark.colour)}">{words}</text>'
    )
