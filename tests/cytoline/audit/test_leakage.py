"""Planted leaks of every kind are found, and a sound split is not accused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cytoline.audit.command import app
from cytoline.audit.leakage import Leakage, leakage_of
from cytoline.errors import CytolineError

PARTS = ("train", "train", "val", "test")


def picture(seed: int) -> Image.Image:
    """Blurred noise: as different from another seed's as two fields are."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    return small.resize((160, 120), Image.Resampling.BICUBIC)


class Archive:
    """Eight patients with one image each."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.records: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.patches: list[dict[str, Any]] = []
        self.copies: list[dict[str, Any]] = []
        (top / "data/clean/images").mkdir(parents=True)
        for number in range(8):
            self.add(f"image{number}", f"patient{number}", PARTS[number % 4], picture(number))

    def add(self, image: str, patient: str, part: str, look: Image.Image, kind: str = "png", **options: Any) -> None:
        path = self.top / f"data/clean/images/{image}.{kind}"
        look.save(path, **options)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.records.append(
            {"image_id": image, "file": path.name, "sha256": sha256, "width": look.width, "height": look.height}
            | {"mpp": None, "patient": patient, "slide": f"slide-{image}", "source": "s", "organ": "o", "stain": "s"}
            | {"role": "field"}
        )
        self.rows.append({"image_id": image, "patient": patient, "group": patient, "split": part})
        self.patches.append({"patch_id": f"{image}-a0", "image_id": image, "patient": patient, "split": part})
        if part == "train":
            self.copies.append({**self.records[-1], "image_id": f"{image}-a0", "file": f"{image}-a0.png"})

    def search(self) -> Leakage:
        for path, rows in (
            ("data/clean/manifest.jsonl", self.records),
            ("data/split/split.jsonl", self.rows),
            ("data/patches/patches.jsonl", self.patches),
            ("data/upscaled/patches.jsonl", self.patches),
            ("data/augmented/manifest.jsonl", self.copies),
        ):
            (self.top / path).parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: str(row["image_id"]))]
            (self.top / path).write_text("".join(lines))
        return leakage_of(self.top)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def kinds(found: Leakage) -> list[tuple[str, tuple[str, str]]]:
    return [(one.kind, one.images) for one in found.overlaps]


def test_a_sound_split_is_not_accused(archive: Archive) -> None:
    archive.add("twin", "patient0", "train", picture(0))  # the same picture on the same side is no leak
    found = archive.search()
    assert (found.overlaps, found.missing) == ((), ())
    assert found.images == {"train": 5, "val": 2, "test": 2}


def test_a_patient_and_a_slide_on_two_sides(archive: Archive) -> None:
    archive.add("more", "patient0", "test", picture(20))
    archive.records[-1]["slide"] = "slide-image1"
    assert set(kinds(archive.search())) == {("patient", ("image0", "more")), ("slide", ("image1", "more"))}


def test_the_same_bytes_once(archive: Archive) -> None:
    archive.add("copy", "other", "test", picture(0))
    assert kinds(archive.search()) == [("same bytes", ("image0", "copy"))]


@pytest.mark.parametrize("turn", [None, *Image.Transpose], ids=lambda turn: turn.name if turn is not None else "PLAIN")
def test_a_turned_and_saved_again_copy(archive: Archive, turn: Image.Transpose | None) -> None:
    look = picture(0) if turn is None else picture(0).transpose(turn)
    archive.add("copy", "other", "val", look.resize((look.width * 3 // 4, look.height * 3 // 4)), "jpg", quality=60)
    found = archive.search()
    assert [(one.kind, set(one.images)) for one in found.overlaps] == [("looks alike", {"image0", "copy"})]


def test_empty_pictures_are_alike_and_different_ones_are_not(archive: Archive) -> None:
    archive.add("white1", "a", "train", Image.new("RGB", (80, 80), "white"))
    archive.add("white2", "b", "test", Image.new("RGB", (90, 80), "white"))
    assert [(one.kind, set(one.images)) for one in archive.search().overlaps] == [("looks alike", {"white1", "white2"})]


def test_what_was_derived_must_stand_where_its_image_stands(archive: Archive) -> None:
    archive.patches[3]["split"] = "train"
    archive.copies[0]["patient"] = "patient3"
    found = archive.search()
    assert {one.kind for one in found.overlaps} == {"derived"}
    assert {one.images for one in found.overlaps} == {("image3", "image3-a0"), ("image0", "image0-a0")}


def test_a_table_that_contradicts_itself_or_the_manifest(archive: Archive) -> None:
    archive.rows.append({**archive.rows[0], "split": "test"})
    archive.rows[1]["patient"] = "somebody"
    found = [one for one in archive.search().overlaps if one.kind == "table"]
    assert [one.images[0] for one in found] == ["image0", "image1"]


def test_files_that_are_not_what_they_were_are_missing(archive: Archive) -> None:
    (archive.top / "data/clean/images/image0.png").unlink()
    (archive.top / "data/clean/images/image1.png").write_bytes(b"no picture")
    picture(30).save(archive.top / "data/clean/images/image2.png")
    found = archive.search()
    assert [words.split()[0] for words in found.missing] == ["image0.png", "image1.png", "image2.png"]


def test_exit_codes(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive.top)
    archive.search()
    assert CliRunner().invoke(app, ["leakage"]).exit_code == 0
    archive.rows[0]["split"] = "test"
    archive.add("more", "patient0", "train", picture(20))
    archive.search()
    told = CliRunner().invoke(app, ["leakage", "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["overlaps"][0]["what"] == "patient0"
    (archive.top / "data/split/split.jsonl").write_text("[]\n")
    with pytest.raises(CytolineError, match="no split table"):
        leakage_of(archive.top)
