"""The page that ``cytoline predict`` writes beside its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cytoline.drawing import fitted, jpeg_uri
from cytoline.errors import CytolineError
from cytoline.page import render, template_of
from cytoline.taxonomy import TAXONOMIES, Taxonomy

if TYPE_CHECKING:
    from cytoline.screening import Finding

CELLS_SHOWN = 24
_PATCH_PX = 180
_PALETTE = ("#2a9d4a", "#e0a100", "#e2601c", "#b01030", "#3a5fcd", "#8a5fb5", "#0f8b8d", "#7a5230")


@dataclass(frozen=True)
class Colours:
    """A colour per class, in order of severity."""

    of: dict[str, str]
    background: str = "#6b7280"

    @classmethod
    def for_classes(cls, classes: Sequence[str]) -> Self:
        """Those of the taxonomy that has just these classes, or a palette."""
        for path in sorted(TAXONOMIES.glob("*.yaml")):
            try:
                taxonomy = Taxonomy.load(path.stem)
            except CytolineError:
                continue
            if taxonomy.classes == tuple(classes):
                return cls(dict(zip(taxonomy.classes, taxonomy.colours, strict=True)))
        return cls({name: _PALETTE[number % len(_PALETTE)] for number, name in enumerate(classes)})


@dataclass(frozen=True)
class Looked:
    """One image that was read, and what was found in it."""

    file: str
    overlay: str
    width: int
    height: int
    findings: Sequence[Finding]


def page(
    looked: Sequence[Looked], skipped: Sequence[tuple[str, str]], colours: Colours, score: float, whole: bool
) -> str:
    """The page as HTML; overlays are referred to by name, cells are inside it."""
    return render(
        template_of(Path(__file__).with_suffix(".html.j2")),
        looked=looked,
        skipped=skipped,
        colours=colours,
        score=score,
        whole=whole,
        names=[*colours.of, "background"],
        total=sum(finding.label in colours.of for item in looked for finding in item.findings),
        counts={item.overlay: Counter(finding.label for finding in item.findings) for item in looked},
        cells={item.overlay: [_cell(finding, colours) for finding in severest(item, colours)] for item in looked},
    )


def severest(item: Looked, colours: Colours) -> list[Finding]:
    """The cells to show: the later the class stands in the taxonomy the earlier, then by score."""
    order = {name: number for number, name in enumerate(colours.of)}
    ranked = sorted(item.findings, key=lambda finding: (-order.get(finding.label, -1), -finding.score))
    return ranked[:CELLS_SHOWN]


def _cell(finding: Finding, colours: Colours) -> dict[str, Any]:
    ranked = sorted(finding.probabilities.items(), key=lambda pair: -pair[1])
    return {
        "uri": jpeg_uri(fitted(finding.patch, _PATCH_PX), 88),
        "label": finding.label,
        "colour": colours.of.get(finding.label, colours.background),
        "probabilities": [pair for pair in ranked if pair[1] >= 0.005][:3],
        "score": finding.detector_score,
    }
