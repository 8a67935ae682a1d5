"""Barcodes: those that can be read, and places that look like one though nobody can read it.

An unreadable barcode is still an identifier, so a place that is black on white, rectangular and restless all over is
reported even where zxing-cpp reads nothing.  What stained cells lack of these is the first: their dark is coloured.
Codes of other colours are read where their contrast is raised (`_views`).  Coloured ones that are too blurred to be
read are not found: told by shape alone, 15 of 84 clean fields looked like one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from cytoline.deid.polygon import Polygon
from cytoline.images import RGB

BARS_GO_ON = 0.15
"""Share of the height that was read."""

_UNMISTAKABLE = frozenset({zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.Aztec, zxingcpp.BarcodeFormat.PDF417})
"""Their frames are no accident of texture."""

_MATRIX = _UNMISTAKABLE | {
    zxingcpp.BarcodeFormat.MicroQRCode,
    zxingcpp.BarcodeFormat.RMQRCode,
    zxingcpp.BarcodeFormat.DataMatrix,
    zxingcpp.BarcodeFormat.MaxiCode,
}

_SHRINK = 2
_WINDOW = 11
"""Pixels of the shrunken picture: a few bars or modules."""
_RESTLESS = 16.0
"""Grey levels of standard deviation within a window."""
_GREYISH = 30
"""Largest minus smallest of R, G and B: what may be ink or paper under a tinted light."""
_NEUTRAL = 10.0
"""The same within a place, once its own white is white: ink and paper stay below, dyes do not."""
_AREA = 270
"""Shrunken pixels: a code of ten modules of 3 pixels."""
_SHORT_SIDE = 10
_FILL = 0.75
"""Share of its upright or turned rectangle that a place fills."""
_FILL_OF_GREY = 0.93
"""The same in a picture without colour, where cells are no less neutral than ink."""
_DEVIATION, _DARK, _LIGHT = 40.0, 125.0, 195.0
"""Of the place: standard deviation, and its 5 % darkest and lightest grey levels.  From blurred codes (sigma 2.5)."""

_PIECES = 10
"""Dark and light spots in a place.  Unreadable codes had 11 or more; neutrophils, scale bars and folds 8 at most."""
_PIECE, _PIECE_SIGMA, _PIECE_LEVEL = 4, 3.0, 5.0
"""A spot: pixels at least, scale of what is around it in pixels, grey levels that it differs by."""

_STRETCH, _GAIN = 63, 4.0
"""Pixels around that a colour is compared with, and by how much the difference grows."""
_CHECKED = _MATRIX | {
    zxingcpp.BarcodeFormat.Code128,
    zxingcpp.BarcodeFormat.Code93,
    zxingcpp.BarcodeFormat.EAN13,
}
"""Kinds with a checksum; of others texture makes short ones."""
_LONG = 6
"""Characters of a code without."""

_AROUND = 24
"""Pixels of the picture around a place that belong to the try of reading it."""


@dataclass(frozen=True)
class Codes:
    """``read``: outlines to paint over.  ``unread``: places that look like a code."""

    read: tuple[Polygon, ...] = ()
    unread: tuple[Polygon, ...] = ()


@dataclass(frozen=True)
class _Place:
    outline: Polygon
    angle: float
    """Degrees that its rectangle is turned by."""


def find_codes(rgb: RGB) -> Codes:
    """Search one picture."""
    linear: set[Polygon] = set()
    matrix: set[Polygon] = set()
    for code in _scan(rgb):
        outlines = matrix if code.format in _MATRIX else linear
        outline = _outline(code)
        if not any(_overlap(outline, other) for other in matrix | linear):
            outlines.add(outline)
    unread = set()
    for place in _places(rgb):
        if any(_overlap(outline, place.outline) for outline in matrix):
            continue
        lines = {outline for outline in linear if _overlap(outline, place.outline)}
        if lines or _readable(rgb, place):
            # A scanner knows a linear code only by the lines that it read; the place has its bars in full.
            linear = (linear - lines) | {place.outline}
        else:
            unread.add(place.outline)
    return Codes(tuple(sorted(linear | matrix)), tuple(sorted(unread)))


def _scan(rgb: RGB) -> list[Any]:
    """Codes of any kind; a QR code or the like even where it is too damaged to be read.

    (Broken DataMatrix and linear codes are left out: texture gives them, three times in a hundred phantom fields.)
    """
    found = zxingcpp.read_barcodes(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), return_errors=True)
    codes = [code for code in found if code.valid or code.format in _UNMISTAKABLE]
    for view in _views(rgb):
        # Each is the negative of the other, so the reader need not turn them round itself (it does so for some kinds).
        read = zxingcpp.read_barcodes(view, try_invert=False)
        codes += [code for code in read if code.format in _CHECKED or len(code.text) >= _LONG]
    return codes


def _views(rgb: RGB) -> Iterator[NDArray[np.uint8]]:
    """At each pixel the colour channel that differs most from what is around, and the negative: bars may be paper."""
    mean = cv2.blur(rgb, (_STRETCH, _STRETCH))
    lighter, darker = cv2.subtract(rgb, mean), cv2.subtract(mean, rgb)
    red, green, view = cv2.split(cv2.addWeighted(lighter, _GAIN, darker, -_GAIN, 128))
    of_red, of_green, of_blue = cv2.split(cv2.bitwise_or(lighter, darker))
    cv2.copyTo(red, cv2.compare(of_red, of_blue, cv2.CMP_GE), view)
    cv2.copyTo(green, cv2.compare(of_green, cv2.max(of_red, of_blue), cv2.CMP_GT), view)
    yield np.asarray(view, np.uint8)
    yield np.asarray(cv2.bitwise_not(view), np.uint8)


def _outline(code: Any) -> Polygon:
    """Four corners.  Linear codes are known only where a scan line read them: their bars go on above and below."""
    place = code.position
    corners = np.array([(p.x, p.y) for p in (place.top_left, place.top_right, place.bottom_right, place.bottom_left)])
    if code.format not in _MATRIX:
        up = (corners[0] + corners[1] - corners[2] - corners[3]) / 2
        corners = corners + BARS_GO_ON * np.array([up, up, -up, -up])
    return tuple((round(float(x)), round(float(y))) for x, y in corners)


def _places(rgb: RGB) -> Iterator[_Place]:
    """Rectangles of restless black on white."""
    height, width = rgb.shape[:2]
    if min(height, width) < 2 * _SHRINK * _SHORT_SIDE:
        return
    small = cv2.resize(rgb, (width // _SHRINK, height // _SHRINK), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    spread = _spread(small)
    mask = _restless_and_greyish(spread, grey)
    count, regions, numbers, _ = cv2.connectedComponentsWithStats(mask)
    if not (numbers[1:, cv2.CC_STAT_AREA] >= _AREA).any():
        return
    fill = _FILL if np.percentile(spread, 90) > _NEUTRAL else _FILL_OF_GREY
    for number in range(1, count):
        x, y, w, h, area = (int(value) for value in numbers[number])
        if area < _AREA:
            continue
        inside = regions[y : y + h, x : x + w] == number
        centre, size, angle = _rectangle(inside)
        if min(size) < _SHORT_SIDE or area < fill * size[0] * size[1]:
            continue
        if not _is_black_on_white(small[y : y + h, x : x + w][inside], grey[y : y + h, x : x + w][inside]):
            continue
        corners = cv2.boxPoints(((centre[0] + x, centre[1] + y), (size[0] + _WINDOW, size[1] + _WINDOW), angle))
        edge = np.clip(np.rint(corners * _SHRINK), 0, (width - 1, height - 1)).astype(int)
        outline = tuple((int(cx), int(cy)) for cx, cy in edge)
        if _pieces(rgb, outline) >= _PIECES:
            yield _Place(outline, angle)


def _spread(rgb: RGB) -> NDArray[np.uint8]:
    """How far the channels of each pixel lie apart."""
    red, green, blue = cv2.split(rgb)
    most, least = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    return np.asarray(cv2.subtract(most, least), np.uint8)


def _restless_and_greyish(spread: NDArray[np.uint8], grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    window = (_WINDOW, _WINDOW)
    mean = cv2.boxFilter(grey, cv2.CV_32F, window)
    square = cv2.sqrBoxFilter(grey, cv2.CV_32F, window)
    greyish = cv2.boxFilter((spread <= _GREYISH).astype(np.uint8) * 255, -1, window)
    mask = ((square - mean * mean >= _RESTLESS**2) & (greyish >= 0.7 * 255)).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), np.uint8)


def _rectangle(inside: NDArray[np.bool_]) -> tuple[tuple[float, float], tuple[float, float], float]:
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    centre, size, angle = cv2.minAreaRect(np.concatenate(contours))
    return (centre[0], centre[1]), (size[0] + 1, size[1] + 1), float(angle)


def _is_black_on_white(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> bool:
    dark, light = np.percentile(grey, (5, 95))
    if grey.std() < _DEVIATION or dark > _DARK or light < _LIGHT:
        return False
    paper = np.maximum(np.percentile(pixels, 95, axis=0), 1)
    balanced = np.minimum(pixels / paper * 255, 255)
    return bool(np.percentile(balanced.max(axis=1) - balanced.min(axis=1), 80) <= _NEUTRAL)


def _pieces(rgb: RGB, outline: Polygon) -> int:
    """How many separate spots within the outline are darker, and how many lighter, than what is around them."""
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    left, top = min(xs), min(ys)
    grey = cv2.cvtColor(np.ascontiguousarray(rgb[top : max(ys) + 1, left : max(xs) + 1]), cv2.COLOR_RGB2GRAY)
    inside = np.zeros(grey.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.array([(x - left, y - top) for x, y in outline], np.int32), (1,))
    above = grey - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _PIECE_SIGMA)
    spots = 0
    for side in (above > _PIECE_LEVEL, above < -_PIECE_LEVEL):
        count, _, numbers, _ = cv2.connectedComponentsWithStats((side & (inside > 0)).astype(np.uint8), connectivity=4)
        spots += int((numbers[1:count, cv2.CC_STAT_AREA] >= _PIECE).sum())
    return spots


def _readable(rgb: RGB, place: _Place) -> bool:
    """Turned upright, enlarged, sharpened: zxing-cpp tries by itself only multiples of 90 degrees."""
    xs, ys = [x for x, _ in place.outline], [y for _, y in place.outline]
    left, top = max(min(xs) - _AROUND, 0), max(min(ys) - _AROUND, 0)
    crop = rgb[top : max(ys) + _AROUND, left : max(xs) + _AROUND]
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    for angle in (0.0, place.angle):
        upright = _turned(grey, angle)
        large = cv2.resize(upright, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        for picture in (upright, large, _sharpened(large, 3.0), _sharpened(large, 5.0)):
            if zxingcpp.read_barcodes(np.ascontiguousarray(picture)):
                return True
    return False


def _turned(grey: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    if angle % 90 == 0:
        return grey
    height, width = grey.shape
    side = int(np.hypot(height, width)) + 1
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    turn[:, 2] += (side - width) / 2, (side - height) / 2
    return np.asarray(cv2.warpAffine(grey, turn, (side, side), flags=cv2.INTER_CUBIC, borderValue=255), np.uint8)


def _sharpened(grey: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.addWeighted(grey, 3.0, cv2.GaussianBlur(grey, (0, 0), sigma), -2.0, 0), np.uint8)


def _overlap(one: Polygon, other: Polygon) -> bool:
    """True if they share half of the smaller."""
    first, second = np.array(one, np.float32), np.array(other, np.float32)
    common, _ = cv2.intersectConvexConvex(first, second)
    return bool(common >= 0.5 * min(cv2.contourArea(first), cv2.contourArea(second)))
