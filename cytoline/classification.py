"""Grading enlarged cells with a trained classifier folder.  Used by evaluate and by ``cytoline predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cytoline import openmm
from cytoline.images import RGB
from cytoline.models import load_state, load_strictly, verify_model

Probabilities = NDArray[np.float64]
"""[N, C], each row sums to 1, columns as in ``Classifier.classes``."""

VIEWS = 8
"""A square can be looked at in this many ways: four quarter turns, plain and mirrored."""

_BATCH = 64


def turned(patches: NDArray[np.uint8], view: int) -> NDArray[np.uint8]:
    """uint8 [N, S, S, 3] in look number ``view`` (0 to 7); 0 is as they are, 0 to 3 already hold all quarter turns."""
    mirrored = patches[:, :, ::-1] if view >= 4 else patches
    return np.rot90(mirrored, view % 4, axes=(1, 2))


class Classifier:
    """A classifier in evaluation mode, its temperature applied."""

    def __init__(self, folder: Path) -> None:
        openmm.register()
        from mmengine.config import Config

        from cytoline.training import build_model

        card = verify_model(folder)  # config.py is a program: it must be the one that the card names
        config = Config.fromfile(str(folder / "config.py"))
        self.classes: tuple[str, ...] = card.classes
        self.input_size = int(str(card.settings["input_size"]))
        self.temperature = card.temperature or 1.0
        self.views = int(str(card.settings.get("views", 1)))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = build_model("mmpretrain", config)
        load_strictly(model, load_state(folder), str(folder))
        # channels_last: a third faster on a CPU, the same to six digits.
        self.model: Any = model.eval().to(self.device).to(memory_format=torch.channels_last)

    def predict(self, patches: Sequence[RGB]) -> Probabilities:
        """Calibrated probabilities of uint8 [H, W, 3] patches of any size, as if all classes were equally common."""
        if not patches:
            return np.zeros((0, len(self.classes)))
        logits = np.concatenate([self._logits(patches[at : at + _BATCH]) for at in range(0, len(patches), _BATCH)])
        return softmax(logits / self.temperature)

    def _logits(self, patches: Sequence[RGB]) -> NDArray[np.float64]:
        """Mean over ``views`` turned and mirrored looks: a cell has no upright."""
        size = (self.input_size, self.input_size)
        resized = np.stack([cv2.resize(patch, size, interpolation=cv2.INTER_AREA) for patch in patches])
        looks = [self._look(turned(resized, view)) for view in range(self.views)]
        return np.asarray(np.mean(looks, axis=0), dtype=np.float64)

    def _look(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        inputs = torch.from_numpy(np.ascontiguousarray(patches.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            batch = self.model.data_preprocessor({"inputs": inputs}, False)["inputs"]
            scores = self.model.head(self.model.extract_feat(batch))
        return np.asarray(scores.float().cpu().numpy(), dtype=np.float64)


def load_classifier(folder: Path) -> Classifier:
    """Read a model folder.  Raises ``CytolineError`` where it is missing or does not match its card."""
    return Classifier(folder)


def softmax(logits: NDArray[np.float64]) -> Probabilities:
    """Row-wise softmax of [N, C] logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
