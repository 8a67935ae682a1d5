"""Where letters and barcodes are burned into the pixels.

Text: RapidOCR (models come with the package; nothing is fetched) at the image's own scale.  Its detector takes a
crowd of cells for writing now and then, and its reader then finds an 8 or two in it, so a hit counts only if
it reads as two or more characters and is no taller than a line of writing, or if it is beyond doubt.
A strip (a label cut out of a slide, say) is laid on a plain ground first: the reader would enlarge it beyond measure.
Pictures of single cells are read too, laid on a ground, and only what is beyond doubt counts there.
Barcodes: ``codes``.  Strokes of a pen: ``ink``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.deid.codes import find_codes
from cytoline.deid.ink import find_strokes
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.polygon import Polygon
from cytoline.images import RGB

SURE_SCORE, SURE_CHARACTERS = 0.9, 4
PAIR_SCORE = 0.85
"""For a read of two characters: crowded nuclei are read as 00, 30 or 89 with up to 0.72."""

SMALL = 160
"""Pixels of the longer side: what is smaller is read on a ground of this size."""
SMALL_SCALE = 192
"""Pixels of the shorter side on which that is done: cells come by the thousand, and this takes a fifth of the time."""
STRIP = 4
"""A picture longer than so many times its shorter side is a strip."""


@dataclass(frozen=True)
class Hits:
    """What to paint over, how many doubtful hits were let pass, and what nobody can read."""

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


def find_marks(rgb: RGB, params: AnonymizeParams) -> Hits:
    """Text, barcodes and strokes of a pen in one image.

    Images smaller than ``text_min_image`` both ways (single cells) are searched for codes that can be read, those
    smaller than ``SMALL`` also for text that is beyond doubt.
    """
    codes = find_codes(rgb)
    longer = max(rgb.shape[:2])
    texts, doubtful = _find_text(rgb, params) if longer < SMALL or longer >= params.text_min_image else ((), 0)
    if longer < params.text_min_image:
        return Hits(texts, codes.read)
    strokes = find_strokes(rgb)
    return Hits(texts, codes.read, doubtful, codes.unread, strokes.sure, strokes.weak)


def _find_text(rgb: RGB, params: AnonymizeParams) -> tuple[tuple[Polygon, ...], int]:
    height, width = rgb.shape[:2]
    small = max(height, width) < SMALL
    laid, x0, y0 = _on_ground(rgb, SMALL if small else 0)
    result = _reader(min(params.text_scale, SMALL_SCALE) if small else params.text_scale)(
        np.ascontiguousarray(laid[:, :, ::-1]), text_score=0.0
    )
    if getattr(result, "txts", None) is None:
        return (), 0
    # Writing fills a strip from edge to edge, so there the longer side is the measure.
    limit = params.text_max_height * (min(height, width) if laid is rgb else max(height, width))
    certain, doubtful = [], 0
    for box, text, score in zip(result.boxes, result.txts, result.scores, strict=True):
        certain_here = _is_beyond_doubt if small else _is_writing
        if certain_here(text, float(score), _height(box), limit, params.text_score):
            corners = np.clip(np.rint(box) - (x0, y0), 0, (width - 1, height - 1))
            certain.append(tuple((int(x), int(y)) for x, y in corners))
        else:
            doubtful += 1
    return tuple(sorted(certain)), doubtful


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


def _is_beyond_doubt(text: str, score: float, _height: float, _limit: float, _least: float) -> bool:
    return score >= SURE_SCORE and sum(character.isalnum() for character in text) >= SURE_CHARACTERS


def _is_writing(text: str, score: float, height: float, limit: float, least: float) -> bool:
    characters = sum(character.isalnum() for character in text)
    beyond_doubt = score >= SURE_SCORE and characters >= SURE_CHARACTERS
    enough = max(least, PAIR_SCORE) if characters == 2 else least
    return beyond_doubt or (score >= enough and characters >= 2 and height <= limit)


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

        def _load_det_model(self) -> Any:
            detector = _exact(self.text_det, super()._load_det_model)
            how = (detector.limit_side_len, detector.limit_type, detector.mean, detector.std)
            detector.get_preprocess = lambda: Prepared(*how)
            return detector

        def _load_cls_model(self) -> Any:
            return _exact(self.text_cls, super()._load_cls_model)

        def _load_rec_model(self) -> Any:
            return _exact(self.text_rec, super()._load_rec_model)

    engines = {f"{part}.engine_type": EngineType.OPENVINO for part in ("Det", "Cls", "Rec")}
    return Reader(params={"Global.log_level": "critical", "Det.limit_side_len": scale, **engines})


def _exact(loaded: Any, load: Callable[[], Any]) -> Any:
    if loaded is None:
        loaded = load()
        _compile_exactly(loaded.session)
    return loaded


def _compile_exactly(session: Any) -> None:
    """RapidOCR has no setting for these three.

    32 bits: with the 16 that OpenVINO takes where a processor has them, boxes came out too tight for their letters, and
    what is found would depend on the machine.  No pinning: the workers of a pool would all choose the first core.
    """
    from openvino import Core

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": int(os.environ.get("OMP_NUM_THREADS") or 1),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    session.session = Core().compile_model(session.model, "CPU", settings).create_infer_request()
