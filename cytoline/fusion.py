"""One answer from several looks at the same field.

Cells have no upper side, so a mirrored field is as good a field.  A detector never answers a mirror image quite
alike; where its answers agree they are averaged, which is steadier than either, and what one look alone has found
loses score.  The rule is Weighted Boxes Fusion (Solovyev et al. 2021, arXiv 1910.13302) with one box per look and
cluster, so that two touching cells never become one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cytoline.boxes import as_boxes, iou_matrix
from cytoline.images import RGB

Found = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Boxes [N, 4] (x, y, width, height in pixels), scores [N] (0 to 1, falling), classes [N]."""

MIRRORS: tuple[tuple[bool, bool], ...] = ((False, False), (True, False), (False, True), (True, True))
"""The looks in the order in which they are taken: (left-right mirrored, upside down)."""

VIEWS = 3
"""How often a field is looked at unless told otherwise: as it is, and in two mirrors."""

_SAME_CELL = 0.6
"""Boxes of two looks that overlap by this IoU show one cell."""


def mirrored(image: RGB, mirror: tuple[bool, bool]) -> RGB:
    """``image`` (uint8 [H, W, 3]) as seen in a mirror."""
    return np.ascontiguousarray(image[:: -1 if mirror[1] else 1, :: -1 if mirror[0] else 1])


def unmirrored(boxes: NDArray[np.float64], mirror: tuple[bool, bool], width: int, height: int) -> NDArray[np.float64]:
    """Boxes found in a mirrored image of ``width`` x ``height`` pixels, where they lie in the image itself."""
    back = as_boxes(boxes).copy()
    if mirror[0]:
        back[:, 0] = width - back[:, 0] - back[:, 2]
    if mirror[1]:
        back[:, 1] = height - back[:, 1] - back[:, 3]
    return back


def fuse(looks: Sequence[Found]) -> Found:
    """Merge the answers of several looks, all in the same coordinates; a single one is returned as it is.

    The box of a cell is the mean of its boxes weighted by score; its score is the sum of theirs over the number
    of looks.  Boxes of different classes never merge.
    """
    if len(looks) == 1:
        return looks[0]
    boxes = np.concatenate([as_boxes(look[0]) for look in looks])
    scores = np.concatenate([look[1] for look in looks])
    classes = np.concatenate([look[2] for look in looks])
    partners = _partners(looks)
    free = np.ones(len(boxes), dtype=bool)
    cells: list[tuple[NDArray[np.float64], float, int]] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not free[index]:
            continue
        members = [index]
        for candidates in partners.get(index, {}).values():
            best = max(((overlap, -other) for overlap, other in candidates if free[other]), default=None)
            if best is not None:
                members.append(-best[1])
        free[members] = False
        weights = np.maximum(scores[members], 1e-12)
        box = (boxes[members] * weights[:, None]).sum(axis=0) / weights.sum()
        cells.append((box, float(scores[members].sum()) / len(looks), int(classes[index])))
    order = np.argsort([-score for _, score, _ in cells], kind="stable")
    return (
        as_boxes([cells[index][0] for index in order]),
        np.array([cells[index][1] for index in order], dtype=np.float64),
        np.array([cells[index][2] for index in order], dtype=np.int64),
    )


def _partners(looks: Sequence[Found]) -> dict[int, dict[int, list[tuple[float, int]]]]:
    """For each box, by look, the boxes of the other looks that may show the same cell, each with its overlap.

    Boxes are numbered through all looks.  Most overlap nothing, so this is short.
    """
    starts = np.cumsum([0, *(len(look[1]) for look in looks)]).tolist()
    found: dict[int, dict[int, list[tuple[float, int]]]] = {}
    for one in range(len(looks)):
        for other in range(len(looks)):
            if one == other:
                continue
            overlaps = iou_matrix(looks[one][0], looks[other][0])
            same = (overlaps >= _SAME_CELL) & (looks[one][2][:, None] == looks[other][2][None])
            for here, there in np.argwhere(same).tolist():
                candidates = found.setdefault(starts[one] + here, {}).setdefault(other, [])
                candidates.append((float(overlaps[here, there]), starts[other] + there))
    return found
