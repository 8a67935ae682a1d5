"""The manifest: equal content is equal bytes, and what breaks the contract does not pass."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cytoline.errors import CytolineError
from cytoline.manifest import Annotation, Record, read_manifest, write_manifest

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SIDE = st.integers(min_value=4, max_value=4000)


@st.composite
def annotations(draw: st.DrawFn, width: int, height: int) -> Annotation:
    x = draw(st.floats(0, width - 2))
    y = draw(st.floats(0, height - 2))
    w = draw(st.floats(0.5, width - x))
    h = draw(st.floats(0.5, height - y))
    return Annotation(bbox=(x, y, w, h), label=draw(TEXT), annotator=draw(st.none() | TEXT))


@st.composite
def records(draw: st.DrawFn) -> Record:
    width, height = draw(SIDE), draw(SIDE)
    name = draw(st.text("abcdef0123456789", min_size=4, max_size=20))
    return Record(
        image_id=name,
        file=f"{name}.png",
        sha256=draw(st.text("abcdef0123456789", min_size=64, max_size=64)),
        width=width,
        height=height,
        mpp=draw(st.none() | st.floats(0.01, 10)),
        patient=draw(TEXT),
        slide=draw(TEXT),
        source="s",
        organ=draw(TEXT),
        stain=draw(TEXT),
        role=draw(st.sampled_from(["field", "cell"])),
        labelled=draw(st.booleans()),
        annotations=tuple(draw(st.lists(annotations(width, height), max_size=4))),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(records(), unique_by=lambda record: record.image_id, max_size=5), seed=st.integers(0, 9))
def test_what_is_written_comes_back_and_order_does_not_show(tmp_path: Path, items: list[Record], seed: int) -> None:
    shuffled = random.Random(seed).sample(items, len(items))
    write_manifest(tmp_path / "a.jsonl", items)
    write_manifest(tmp_path / "b.jsonl", shuffled)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert read_manifest(tmp_path / "a.jsonl") == sorted(items, key=lambda record: record.image_id)


def good() -> dict[str, Any]:
    return {
        "image_id": "a1",
        "file": "a1.png",
        "sha256": "0" * 64,
        "width": 10,
        "height": 8,
        "mpp": None,
        "patient": "p",
        "slide": "s",
        "source": "x",
        "organ": "o",
        "stain": "t",
        "role": "field",
        "annotations": [{"bbox": [1, 1, 4, 4], "label": "NILM"}],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": "../a"},
        {"file": "a/b.png"},
        {"sha256": "xyz"},
        {"width": 0},
        {"mpp": 0},
        {"role": "slide"},
        {"surprise": 1},
        {"annotations": [{"bbox": [1, 1, 0, 4], "label": "NILM"}]},
        {"annotations": [{"bbox": [1, 1, float("nan"), 4], "label": "NILM"}]},
        {"annotations": [{"bbox": [7, 1, 4, 4], "label": "NILM"}]},
        {"annotations": [{"bbox": [-1, 1, 4, 4], "label": "NILM"}]},
    ],
)
def test_a_record_that_breaks_the_contract_is_refused(change: dict[str, Any]) -> None:
    Record.model_validate(good())
    with pytest.raises(ValidationError):
        Record.model_validate({**good(), **change})


def test_the_first_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps(good()) + "\n" + json.dumps({**good(), "width": -1}) + "\n", encoding="utf-8")
    with pytest.raises(CytolineError, match=r"manifest\.jsonl:2: width"):
        read_manifest(path)


def test_an_id_may_not_come_twice(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text((json.dumps(good()) + "\n") * 2, encoding="utf-8")
    with pytest.raises(CytolineError, match="not unique"):
        read_manifest(path)
