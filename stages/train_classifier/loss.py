"""What makes the classifier learn grades and not how common they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models.losses import LabelSmoothLoss
from mmpretrain.registry import MODELS
from torch import Tensor


@MODELS.register_module(force=True)
class LogitAdjustedLoss(LabelSmoothLoss):  # type: ignore[misc]
    """Cross entropy after adding log(share of each class among the drawn patches) to the scores.

    The scores themselves then say what the picture says, as if all classes were equally common: the most probable
    class is the one that maximises balanced accuracy (Menon et al. 2021, arXiv 2007.07314, equation 10).
    """

    def __init__(self, shares: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("offset", torch.tensor(shares, dtype=torch.float32).log(), persistent=False)

    def forward(self, cls_score: Tensor, label: Tensor, **kwargs: Any) -> Tensor:
        """Loss of scores [N, C] for labels [N] or one-hot [N, C]."""
        loss: Tensor = super().forward(cls_score + self.offset, label, **kwargs)
        return loss


def drawn_shares(labels: Sequence[int], classes: int) -> list[float]:
    """Share of each class in what ``SquareRootSampler`` draws.  One without a patch counts as having half of one."""
    sizes = Counter(labels)
    roots = [max(sizes[number], 0.5) ** 0.5 for number in range(classes)]
    return [root / sum(roots) for root in roots]
