"""Where letters and barcodes are burned into the pixels.

Text: RapidOCR (models come with the package; nothing is fetched) at the image's own scale, large ones by ``views``.
Its detector takes a crowd of cells for writing now and then, and its reader then finds an 8 or two in it, so a hit
counts only if it reads as two or more characters and is no taller than a line of writing, or if it is beyond doubt.
A strip (a label cut out of a slide, say) is laid on a plain ground first: the reader would enlarge it beyond measure.
Pictures of single cells are read too, laid on a ground, and only what is beyond doubt counts there.
Where the processor counts in 16 bits, one look at a field is taken in these first, which takes less than half the time.
Where nothing that they show comes near to counting, the picture is done; else what is found is what 32 bits find.
Barcodes: ``codes``.  Strokes of a pen: ``ink``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from threading import Lock
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.deid.codes import find_codes
from cytoline.deid.ink import find_strokes
from cytoline.deid.network import EXACT, ROUGH, compiled, counts_in_16_bits, with_plain_end
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.polygon import Polygon
from cytoline.deid.views import LONGEST, STRIP, Box, is_strip, views
from cytoline.images import RGB

SURE_SCORE, SURE_CHARACTERS = 0.9, 4
PAIR_SCORE = 0.85
"""For a read of two characters: crowded nuclei are read as 00, 30 or 89 with up to 0.72."""

Margin = tuple[int, float, float]
"""More characters, more confidence, times the height: what would count with these comes near to counting."""
NEAR: tuple[Margin, ...] = ((0, 0.2, 0.8), (1, 0.0, 0.8))
"""Of what 16 bits show: their boxes are not quite the same."""
DOUBTFUL: tuple[Margin, ...] = ((0, 0.1, 0.9),)
"""Of what 32 bits show.  Narrower, so that the number of doubtful hits hardly ever depends on the processor."""

SMALL = 160
"""Pixels of the longer side: what is smaller is read on a ground of this size."""
SMALL_SCALE = 192
"""Pixels of the shorter side on which that is done: cells come by the thousand, and this takes a fifth of the time."""
_SAME = 0.9
"""Share of a box that lies in another from which on both are of the same writing."""

BOX_THRESHOLD = {ROUGH: 0.4, EXACT: 0.5}
"""Mean of the map (0 to 1) in a box; that of ``EXACT`` is RapidOCR's own.  In 16 bits a field's map is up to 0.1 off.

The map's own threshold stays: with a lower one the boxes of neighbouring things run together and cannot be read.
"""


@dataclass(frozen=True)
class _Line:
    """What was read in one box: its corners, letters and digits, the reader's confidence, the height of the line."""

    box: NDArray[np.float32]
    characters: int
    score: float
    height: float


@dataclass(frozen=True)
class Hits:
    """What to paint over, how many doubtful hits were let pass, and what nobody can read.

    Doubtful is what came near to counting; where a person is asked (``review``), every other hit.
    """

    texts: tuple[Polygon, ...] = ()
    barcodes: tuple[Polygon, ...] = ()
    doubtful: int = 0
    unread: tuple[Polygon, ...] = ()
    """Places that look like a barcode.  They are still an identifier: a person must decide."""

    ink: tuple[Polygon, ...] = ()
    """Strokes of a pen on the glass: a person must decide."""
    weak_ink: tuple[Polygon, ...] = ()

    @property
    def all(self) -> tuple[Polygon, ...]:
        return self.texts + self.barcodes


def find_marks(rgb: RGB, params: AnonymizeParams, *, look_first: bool = True) -> Hits:
    """Text, barcodes and strokes of a pen in one image; without ``look_first`` in 32 bits wherever it runs.

    Images smaller than ``text_min_image`` both ways (single cells) are searched for codes that can be read, those
    smaller than ``SMALL`` also for text that is beyond doubt.
    """
    codes = find_codes(rgb)
    longer = max(rgb.shape[:2])
    texts: tuple[Polygon, ...] = ()
    doubtful = 0
    if longer < SMALL or longer >= params.text_min_image:
        texts, doubtful = _find_text(rgb, params, look_first and not params.review and counts_in_16_bits())
    if longer < params.text_min_image:
        return Hits(texts, codes.read)
    strokes = find_strokes(rgb)
    return Hits(texts, codes.read, doubtful, codes.unread, strokes.sure, strokes.weak)


def _find_text(rgb: RGB, params: AnonymizeParams, look_first: bool) -> tuple[tuple[Polygon, ...], int]:
    height, width = rgb.shape[:2]
    small = max(height, width) < SMALL
    reader = _reader(min(params.text_scale, SMALL_SCALE) if small else params.text_scale)
    # Writing fills a strip from edge to edge, so there the longer side is the measure.
    on_ground = small or is_strip(rgb)
    limit = params.text_max_height * (max(height, width) if on_ground else min(height, width))
    counts = partial(_is_beyond_doubt if small else _is_writing, limit=limit, least=params.text_score)
    certain: list[Box] = []
    doubtful: list[Box] = []
    for view in views(rgb):
        laid, x0, y0 = _on_ground(view.rgb, SMALL if small else 0)
        bgr = np.ascontiguousarray(laid[:, :, ::-1])
        # The map of a strip or of an enlarged cell is up to 0.3 off in 16 bits, that of a field 0.1.
        if (
            look_first
            and not on_ground
            and not any(_comes_near(line, counts, NEAR) for line in reader.lines(bgr, ROUGH))
        ):
            continue
        for line in reader.lines(bgr, EXACT):
            box = view.home(np.asarray(line.box - (x0, y0), np.float32))
            if counts(line.characters, line.score, line.height):
                certain.append(box)
            elif params.review or _comes_near(line, counts, DOUBTFUL):
                doubtful.append(box)
    if max(height, width) > LONGEST:  # views overlap
        certain = _distinct(certain)
        doubtful = [box for box in _distinct(doubtful) if not any(_is_inside(box, other) for other in certain)]
    corners = [np.clip(np.rint(box), 0, (width - 1, height - 1)) for box in certain]
    return tuple(sorted(tuple((int(x), int(y)) for x, y in four) for four in corners)), len(doubtful)


def _distinct(boxes: list[Box]) -> list[Box]:
    """One box around those that are nearly the same, or one inside the other."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda one: -cv2.contourArea(one)):
        for place, other in enumerate(kept):
            if _is_inside(box, other):
                kept[place] = cv2.boxPoints(cv2.minAreaRect(np.concatenate((other, box))))
                break
        else:
            kept.append(box)
    return kept


def _is_inside(box: Box, other: Box) -> bool:
    shared, _ = cv2.intersectConvexConvex(other, box)
    return float(shared) > _SAME * float(cv2.contourArea(box))


def _on_ground(rgb: RGB, side: int) -> tuple[RGB, int, int]:
    """A strip (or what is smaller than ``side``) in the middle of its own median colour, and where it lies there."""
    height, width = rgb.shape[:2]
    least = max(-(-max(height, width) // STRIP), side)
    if min(height, width) >= least:
        return rgb, 0, 0
    x0, y0 = max(least - width, 0) // 2, max(least - height, 0) // 2
    laid = np.empty((max(height, least), max(width, least), 3), np.uint8)
    laid[:] = np.median(rgb.reshape(-1, 3), axis=0).astype(np.uint8)
    laid[y0 : y0 + height, x0 : x0 + width] = rgb
    return laid, x0, y0


def _is_beyond_doubt(characters: int, score: float, _height: float, *, limit: float, least: float) -> bool:
    return score >= SURE_SCORE and characters >= SURE_CHARACTERS


def _is_writing(characters: int, score: float, height: float, *, limit: float, least: float) -> bool:
    enough = max(least, PAIR_SCORE) if characters == 2 else least
    if score >= enough and characters >= 2 and height <= limit:
        return True
    return _is_beyond_doubt(characters, score, height, limit=limit, least=least)


def _comes_near(line: _Line, counts: Callable[[int, float, float], bool], margins: tuple[Margin, ...]) -> bool:
    """Never what was read as one character: that is a cell."""
    return line.characters > 1 and any(
        counts(line.characters + characters, line.score + score, line.height * height)
        for characters, score, height in margins
    )


def _height(box: Any) -> float:
    """Of a line of writing at any angle: the mean of the box's two short ends (corners go round it)."""
    sides = [float(np.linalg.norm(box[i] - box[(i + 1) % 4])) for i in range(4)]
    return min((sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2)


@cache
def _reader(scale: int) -> Any:
    """One per process, with the threads that the pool grants it.

    OpenVINO runs the same models four times as fast as ONNX Runtime (benchmarks/deid has both).
    """
    from rapidocr import EngineType, RapidOCR
    from rapidocr.ch_ppocr_det.utils import DetPreProcess

    class Prepared(DetPreProcess):  # type: ignore[misc]
        """The same numbers, looked up for each of 256 levels instead of reckoned in 64 bits for each pixel."""

        def __call__(self, bgr: NDArray[np.uint8]) -> Any:
            resized = self.resize(bgr)
            if resized is None:
                return None
            levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
            tables = cv2.split(self.normalize(levels).astype(np.float32))
            return np.stack([cv2.LUT(plane, table) for plane, table in zip(cv2.split(resized), tables, strict=True)])[
                None
            ]

    class Reader(RapidOCR):  # type: ignore[misc]
        """Each model is loaded when it is first needed, and then compiled again by our settings."""

        precision = EXACT
        requests: ClassVar[dict[tuple[type, str], Any]] = {}
        one_at_a_time = Lock()

        def lines(self, bgr: NDArray[np.uint8], precision: str) -> list[_Line]:
            with self.one_at_a_time:
                self.precision = precision
                result = self(bgr, text_score=0.0)
            if getattr(result, "txts", None) is None:
                return []
            return [
                _Line(box, sum(character.isalnum() for character in text), float(score), _height(box))
                for box, text, score in zip(result.boxes, result.txts, result.scores, strict=True)
            ]

        def _load_det_model(self) -> Any:
            detector = self._compiled(super()._load_det_model())
            how = (detector.limit_side_len, detector.limit_type, detector.mean, detector.std)
            detector.get_preprocess = lambda: Prepared(*how)
            detector.postprocess_op.box_thresh = BOX_THRESHOLD[self.precision]
            return detector

        def _load_cls_model(self) -> Any:
            return self._compiled(super()._load_cls_model())

        def _load_rec_model(self) -> Any:
            return self._compiled(super()._load_rec_model())

        def _compiled(self, part: Any) -> Any:
            key = (type(part), self.precision)
            if key not in self.requests:
                self.requests[key] = compiled(with_plain_end(part.session.model), self.precision)
            part.session.session = self.requests[key]
            return part

    engines = {f"{part}.engine_type": EngineType.OPENVINO for part in ("Det", "Cls", "Rec")}
    return Reader(
        params={"Global.log_level": "critical", "Global.max_side_len": LONGEST, "Det.limit_side_len": scale, **engines}
    )
