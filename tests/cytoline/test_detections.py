"""COCO results: what is written comes back, in a fixed order; what is broken is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoline.detections import Detection, read_categories, read_detections, write_detections
from cytoline.errors import CytolineError


def row(field: str, score: float) -> Detection:
    return Detection(image_id=field, category_id=1, bbox=(1, 2, 3, 4), score=score)


def test_fields_without_detections_are_kept(tmp_path: Path) -> None:
    write_detections(tmp_path, [row("b", 0.2), row("b", 0.9)], ["c", "b"], ["cell"])
    found = read_detections(tmp_path)
    assert list(found) == ["b", "c"]
    assert found["c"] == []
    assert [item.score for item in found["b"]] == [0.9, 0.2]
    assert read_categories(tmp_path) == ["cell"]


def test_order_of_writing_does_not_show(tmp_path: Path) -> None:
    rows = [row("b", 0.2), row("a", 0.9), row("b", 0.7)]
    write_detections(tmp_path / "x", rows, ["a", "b"], ["cell"])
    write_detections(tmp_path / "y", rows[::-1], ["b", "a"], ["cell"])
    for name in ("coco_results.json", "categories.json"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


@pytest.mark.parametrize("content", ["", "{", '[{"image_id": "a"}]', "[1]"])
def test_broken_results_are_refused(tmp_path: Path, content: str) -> None:
    write_detections(tmp_path, [row("a", 0.5)], ["a"], ["cell"])
    (tmp_path / "coco_results.json").write_text(content)
    with pytest.raises(CytolineError, match="no readable detections"):
        read_detections(tmp_path)
