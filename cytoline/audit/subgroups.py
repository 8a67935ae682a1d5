"""Figures of subgroups from per-case results: what is true of all may be false of one laboratory or one grade.

Only counts of cells and fields go in; with few cells a figure says little, so its number stands beside it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

_LARGEST = 1 << 28


def figures(cases: bytes) -> dict[str, float]:
    """Address to value from the lines of ``metrics/cases.jsonl``: sensitivity of each class, for each source and in
    all; accuracy of graded cells and share of found cells for each source.  Lines that are no case are passed over.
    """
    if len(cases) > _LARGEST:
        return {}
    right: Counter[str] = Counter()
    of: Counter[str] = Counter()
    read = [_case(line) for line in cases.split(b"\n")]
    # Only a field says its source; its cells name the field.
    sources = {case.get("image_id"): case.get("source") for case in read if case.get("source")}
    for case in read:
        source = f"source {case.get('source') or sources.get(case.get('image_id')) or 'unknown'}"
        if case.get("kind") == "cell":
            hit = int(case.get("truth") == case.get("predicted"))
            truth = f"class {case.get('truth')}"
            for group in (f"{truth}: sensitivity", f"{source}: accuracy", f"{source}, {truth}: sensitivity"):
                right[group] += hit
                of[group] += 1
        elif case.get("kind") == "field":
            cells, found = case.get("cells"), case.get("found")
            if isinstance(cells, int) and isinstance(found, int):
                right[f"{source}: share of cells found"] += found
                of[f"{source}: share of cells found"] += cells
    rates = {group: right[group] / number for group, number in of.items() if number}
    return {**rates, **{f"{group} (cells)": float(number) for group, number in of.items()}}


def _case(line: bytes) -> dict[str, Any]:
    try:
        case = json.loads(line) if line else {}
    except (ValueError, RecursionError):
        return {}
    return case if isinstance(case, dict) and isinstance(case.get("image_id"), str | None) else {}
