"""The gate's answer for a terminal, a pull request and a build server."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cytoline.gate.judge import Verdict, failures

PLOTS = Path("metrics/plots")
MARKER = "<!-- cytoline-gate -->"
LEGEND = (
    "_loss_: how much worse, on the patients that both states have (negative: better). _fails above_: what is allowed, "
    "or what noise of seeds and patients explains, whichever is more. _sees_: the true loss that is caught nine times "
    "in ten, where the two states differ enough to tell."
)
_STEP = 5
"""Of the 101 recall points every fifth is drawn: 21 from 0 to 1."""


def print_table(verdicts: Sequence[Verdict], title: str) -> None:
    """One row per rule, what fails in red, and below it what each verdict rests on."""
    table = Table(title=Text(title), show_edge=False)
    for name in ("", "figure", "was", "now", "loss", "fails above", "sees 9 in 10"):
        table.add_column(name, justify="left" if name in ("", "figure") else "right", no_wrap=name in ("", "figure"))
    for item in verdicts:
        mark = Text("FAIL", "bold red") if item.failed else Text("pass", "green")
        table.add_row(mark, Text(item.address), *_cells(item))
    console = Console(highlight=False)
    console.print(table)
    for item in verdicts:
        said = _told(item) if item.failed else item.words
        console.print(Text(f"{item.address}, {item.outcome}: {said}"), soft_wrap=True)


def as_json(verdicts: Sequence[Verdict], baseline: str) -> str:
    """Every verdict, for a program."""
    rows = [{"failed": item.failed} | vars(item) for item in verdicts]
    return json.dumps({"baseline": baseline, "passed": not failures(verdicts), "rules": rows}, indent=1) + "\n"


def as_markdown(verdicts: Sequence[Verdict], baseline: str, plots: Path = PLOTS, classes: Sequence[str] = ()) -> str:
    """For a comment on a pull request.

    Curves are Mermaid charts: GitHub and GitLab draw these themselves, while both remove inline SVG and embedded
    pictures.  The first line, which nobody sees, is how a build server finds its earlier comment.
    """
    failed = failures(verdicts)
    head = f"**{len(failed)} of {len(verdicts)} rules failed**" if failed else f"**All {len(verdicts)} rules passed**"
    lines = [
        MARKER,
        "## cytoline gate",
        "",
        f"{head}, compared with `{_plain(baseline)}`.",
        *_failed_list(failed),
        "",
        "| | figure | before | now | loss | fails above | sees 9 in 10 from | rests on |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for item in verdicts:
        mark = ":x:" if item.failed else ":white_check_mark:"
        lines.append("| " + " | ".join([mark, f"`{_plain(item.address)}`", *_cells(item), _plain(item.words)]) + " |")
    lines += ["", LEGEND]
    lines += [*_confusion(plots / "confusion.csv", classes), *_curve(plots / "pr_curve.csv")]
    return "\n".join(lines) + "\n"


def as_junit(verdicts: Sequence[Verdict]) -> bytes:
    """JUnit XML: a test case per rule, which build servers list beside the other tests."""
    suite = ET.Element(
        "testsuite", name="cytoline gate", tests=str(len(verdicts)), failures=str(len(failures(verdicts)))
    )
    for item in verdicts:
        case = ET.SubElement(suite, "testcase", classname="gate", name=item.address)
        if item.failed:
            before, now, loss, tolerance, _ = _cells(item)
            failure = ET.SubElement(case, "failure", type=item.outcome, message=f"{item.outcome}: {item.words}")
            failure.text = f"before {before}, now {now}, loss {loss}, fails above {tolerance}"
    content: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return content


def _cells(item: Verdict) -> list[str]:
    values = (item.baseline, item.current, item.loss, item.tolerance, item.sees)
    return ["-" if value is None else f"{value:.3f}" for value in values]


def _confusion(path: Path, classes: Sequence[str]) -> list[str]:
    """Counts of true class by called class, in the order of ``classes`` (others after them)."""
    rows = _rows(path)
    if not rows:
        return []
    counts = Counter((row["actual"], row["predicted"]) for row in rows)
    seen = {name for pair in counts for name in pair}
    names = [name for name in classes if name in seen] + sorted(seen - set(classes))
    lines = ["", "<details><summary>Confusion matrix, now</summary>", ""]
    lines += ["| is, called | " + " | ".join(map(_plain, names)) + " |", "|---|" + "---:|" * len(names)]
    for actual in names:
        lines.append(f"| **{_plain(actual)}** | " + " | ".join(str(counts[actual, name]) for name in names) + " |")
    return [*lines, "", "</details>"]


def _curve(path: Path) -> list[str]:
    rows = _rows(path)[::_STEP]
    precision = [_number(row.get("precision")) for row in rows]
    if not rows or None in precision:
        return []
    chart = [
        "xychart-beta",
        '  title "Detector: precision over recall (IoU 0.5)"',
        '  x-axis "recall" 0 --> 1',
        '  y-axis "precision" 0 --> 1',
        f"  line [{', '.join(f'{value:.3f}' for value in precision)}]",
    ]
    opened = ["", "<details><summary>Precision and recall, now</summary>", "", "```mermaid"]
    return [*opened, *chart, "```", "", "</details>"]


def _number(text: object) -> float | None:
    """A number that a chart can show."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _failed_list(failed: Sequence[Verdict]) -> list[str]:
    """What to look at, in words, before the table."""
    rows = [f"- **`{_plain(item.address)}`**, {item.outcome}: {_told(item)}" for item in failed]
    return ["", *rows] if rows else []


def _told(item: Verdict) -> str:
    if item.outcome == "regression":
        return _plain(f"a loss of {item.loss:.3f}, where up to {item.tolerance:.3f} is allowed or noise; {item.words}")
    if item.outcome == "too few patients":
        return _plain(f"a loss of {item.loss:.3f}, where {item.tolerance:.3f} is allowed; {item.words}")
    return _plain(item.words)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def _plain(text: str) -> str:
    """Names come from params, branches and taxonomies: they must not break out of a table or become a link."""
    return "".join(" " if character in "|`<>[]@\\" or not character.isprintable() else character for character in text)
