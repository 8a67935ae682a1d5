"""Both stages on one image: find, cut out, enlarge, grade.  Used by ``cytoline predict``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cytoline.classification import load_classifier
from cytoline.detection import load_detector
from cytoline.errors import CytolineError
from cytoline.fusion import VIEWS
from cytoline.images import RGB
from cytoline.manifest import BBox
from cytoline.models import ModelCard, read_card
from cytoline.patches import BACKGROUND, crop
from cytoline.upscaling import NETWORKS, Method, open_upscaler, weights_path

_BATCH = 64


class Enlarging(BaseModel):
    """How patches were made when the classifier was trained; the same must be done again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    method: Method
    factor: Annotated[int, Field(ge=1)]
    context: Annotated[float, Field(ge=1)]
    min_px: Annotated[int, Field(ge=1)]
    cell_px: Annotated[float, Field(gt=0)] | None = None
    """Longer side of the box in pictures of single cells; None where the box is the whole picture."""
    weights_sha256: str | None = None


@dataclass(frozen=True)
class Finding:
    """One cell: where, how sure the detector is, what the classifier says."""

    bbox: BBox
    detector_score: float
    probabilities: dict[str, float]
    """Class to probability, perhaps with a last one ``background``; sums to 1."""
    patch: RGB
    """The enlarged patch."""

    @property
    def label(self) -> str:
        """Most probable class, ``background`` included."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def grade(self) -> str:
        """Most probable class, ``background`` left out."""
        return max((name for name in self.probabilities if name != BACKGROUND), key=self.probabilities.__getitem__)

    @property
    def score(self) -> float:
        """Detector score times probability of the grade, as ``evaluate`` ranks it."""
        return self.detector_score * self.probabilities[self.grade]


class Screener:
    """The three models of a ``models`` folder, ready to look at images."""

    def __init__(self, models: Path, upscaler_file: Path | None = None, views: int = VIEWS) -> None:
        self._views = views
        card = trained_card(models / "classifier")
        self.enlarging = enlarging_of(card, models / "classifier")
        self.whole_images = read_card(models / "detector").untrained is not None
        """True where the data held single cells only: then an image is one cell."""
        self._detector = None if self.whole_images else load_detector(models / "detector")
        self._upscaler = open_upscaler(
            self.enlarging.method,
            self.enlarging.factor,
            checked_weights(self.enlarging, models / "upscaler", upscaler_file),
        )
        self._classifier = load_classifier(models / "classifier")
        self.classes: tuple[str, ...] = tuple(name for name in self._classifier.classes if name != BACKGROUND)

    def look(self, image: RGB, min_score: float) -> list[Finding]:
        """Cells in ``image`` (uint8 [H, W, 3]) from the detector score ``min_score`` on, surest first."""
        boxes, scores = self._boxes(image)
        kept = [(box, score) for box, score in zip(boxes, scores, strict=True) if score >= min_score]
        findings = []
        for start in range(0, len(kept), _BATCH):
            findings += self._graded(image, kept[start : start + _BATCH])
        return findings

    def _boxes(self, image: RGB) -> tuple[list[BBox], list[float]]:
        if self._detector is None:
            return [cell_box(image.shape[1], image.shape[0], self.enlarging.cell_px)], [1.0]
        boxes, scores, _ = self._detector.predict(image, self._views)
        return [(float(x), float(y), float(w), float(h)) for x, y, w, h in boxes], [float(score) for score in scores]

    def _graded(self, image: RGB, cells: Sequence[tuple[BBox, float]]) -> list[Finding]:
        patches = [crop(image, box, self.enlarging.context, self.enlarging.min_px) for box, _ in cells]
        enlarged = self._upscaler.enlarge_many(patches)
        rows = np.asarray(self._classifier.predict(enlarged), dtype=float)
        return [
            Finding(box, score, dict(zip(self._classifier.classes, map(float, row), strict=True)), patch)
            for (box, score), row, patch in zip(cells, rows, enlarged, strict=True)
        ]


def cell_box(width: int, height: int, side: float | None) -> BBox:
    """The box of the cell in a picture of one: a square of ``side`` in the middle, or as much of it as there is."""
    w, h = (float(length) if side is None else min(side, float(length)) for length in (width, height))
    return (width - w) / 2, (height - h) / 2, w, h


def trained_card(folder: Path) -> ModelCard:
    """The card of a model that must be there and trained."""
    card = read_card(folder)
    if card.untrained:
        raise CytolineError(f"{folder} holds no trained model: {card.untrained}", "add data, then `dvc repro`")
    return card


def enlarging_of(card: ModelCard, folder: Path) -> Enlarging:
    """How patches were cut and enlarged, from the classifier's card."""
    settings: dict[str, Any] = {}
    for part in ("patch", "patches", "upscale"):
        value = card.settings.get(part)
        settings |= value if isinstance(value, dict) else {}
    try:
        return Enlarging.model_validate({**card.settings, **settings})
    except ValidationError as error:
        missing = ", ".join(str(item["loc"][0]) for item in error.errors())
        raise CytolineError(
            f"the card in {folder} does not say how patches were made ({missing})",
            "train the classifier again: `dvc repro -f train_classifier`",
        ) from None


def checked_weights(enlarging: Enlarging, upscaler: Path, file: Path | None) -> Path | None:
    """Where the enlarging network's weights are; they must be those that the classifier was trained with."""
    if enlarging.method not in NETWORKS:
        return None
    if enlarging.method == "file" and file is None:
        raise CytolineError(
            "the classifier was trained on patches enlarged by a model file of its own",
            "name that file: `cytoline predict ... --upscaler-file FILE`",
        )
    weights = upscaler if enlarging.method == "compact" else file
    path = weights_path(enlarging.method, weights)
    if enlarging.weights_sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != enlarging.weights_sha256:
        raise CytolineError(
            f"{path.name} is not the network that the classifier's patches were enlarged with",
            "use the models of one and the same run: `dvc checkout models`, or `dvc repro`",
        )
    return weights
