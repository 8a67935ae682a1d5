"""Copies measured figures into the README, so that what it says is what was measured.

python -m benchmarks.quote            writes the table between the FIGURES marks of README.md
python -m benchmarks.quote --check    only says whether the README agrees (exit code 2 if not)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import RESULTS, ROOT, Figure, bound_text, read_figures
from cytoline import atomic
from cytoline.command import run
from cytoline.errors import CytolineError

START = "<!-- FIGURES: written by `python -m benchmarks.quote` from benchmarks/results/pipeline.json -->\n"
END = "<!-- /FIGURES -->\n"

WORDS = {
    "phantom_repro_min": "`make repro` on the phantom, minutes",
    "phantom_peak_gb": "largest memory of it, GiB",
    "phantom_det_ap50": "phantom, detector AP50, seeds 0-2",
    "phantom_cls_bacc": "phantom, classifier balanced accuracy, seeds 0-2",
    "noop_repro_s": "`dvc repro` with nothing to do, seconds",
    "bccd_repro_min": "BCCD blood smears, whole pipeline, minutes",
    "bccd_det_ap50": "BCCD, detector AP50 (class-agnostic)",
    "bccd_e2e_map50": "BCCD, both stages, mAP50 over RBC, WBC, platelets",
    "cric_cls_bacc": "CRIC cells, balanced accuracy, grouped by field",
    "bad_input_cases": "bad input, share of cases handled",
}
"""What each figure is called in the README, in its order."""


def table(figures: list[Figure]) -> str:
    """A Markdown table of these figures; a bound that is missed is said to be."""
    by_name = {figure.name: figure for figure in figures}
    lines = ["| figure | asked for | measured | how |", "|---|---|---|---|"]
    for name, words in WORDS.items():
        figure = by_name.get(name)
        if figure is None:
            lines.append(f"| {words} | | not measured yet | |")
            continue
        value = "" if figure.value is None else f"{figure.value:.3g}"
        missed = " **missed**" if figure.kept is False else ""
        lines.append(f"| {words} | {bound_text(figure)} | {value}{missed} | {figure.how} |")
    return "\n".join(lines) + "\n"


def quoted(readme: str, figures: list[Figure]) -> str:
    """The README's text with the table in its place.  Raises ``CytolineError`` where the marks are missing."""
    if readme.count(START) != 1 or readme.count(END) != 1:
        raise CytolineError("README.md has lost the marks around its figures", f"put back {START.strip()} and {END}")
    head, rest = readme.split(START)
    return head + START + table(figures) + END + rest.split(END)[1]


def main(check: Annotated[bool, typer.Option("--check", help="write nothing")] = False) -> None:
    """Bring the README's figures up to those of the last benchmark."""
    path: Path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = quoted(old, read_figures(RESULTS / "pipeline.json"))
    if check and new != old:
        raise CytolineError("README.md does not quote what was measured", "run `python -m benchmarks.quote`")
    if not check:
        atomic.write_bytes(path, new.encode())


if __name__ == "__main__":
    run(main)
