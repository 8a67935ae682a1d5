"""DICOM and slides through collect and anonymize: fields with their own scale, and not one name behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted_identifiers import survivors, write_params

from cytoline.manifest import read_manifest
from cytoline.pseudonyms import KEY_VARIABLE, ensure_key
from stages.anonymize.__main__ import main as anonymize
from stages.collect.__main__ import main as collect
from tests.planted_sources import bytes_below, info, plant
from tests.planted_unpacked import dicom, frame, geojson, shape, slide, tissue

NEEDLES = [
    "ACHTERBERG-4711",
    "BERTA-9912",
    "Muster^Erika",
    "1.2.826.0.77",
    "KLINIK_A",
    "ACC-2024-55",
    "frame-000",
    "x64-",
]
INCOMING, RAW = Path("incoming"), Path("raw")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a DICOM source of two patients and a source of one slide with its GeoJSON."""
    root = tmp_path / "project"
    root.mkdir()
    write_params(root)
    shown = json.loads((root / "params.yaml").read_text())
    shown["collect"]["sources"] = ["ward", "slides"]
    (root / "params.yaml").write_text(json.dumps(shown))
    monkeypatch.chdir(root)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "pseudonym.key"))
    rules = {"patient_id": "column:PatientID", "slide_id": "column:SeriesInstanceUID"}
    ward = plant(INCOMING / "ward", info("dicom", **rules, microns_per_pixel=0.5))
    dicom(ward / "KLINIK_A" / "1.dcm", [frame(1), frame(2)], "ACHTERBERG-4711", "1.2.826.0.77.1")
    dicom(ward / "KLINIK_A" / "2.dcm", [frame(3)], "BERTA-9912", "1.2.826.0.77.2", PixelSpacing=None)
    dicom(ward / "KLINIK_A" / "label.dcm", [frame(4)], "BERTA-9912", SpecimenLabelInImage="YES")
    about = info("wsi-regions", regions="geojson", patient_id=r"^([A-Z]+-\d+-\d+)", microns_per_pixel="unknown")
    slides = plant(INCOMING / "slides", about)
    slide(slides / "ACC-2024-55_a.tif", tissue(), mpp=0.3)
    marks = [shape(64, 64, 100, 80), shape(190, 64, 60, 80), shape(70, 70, 20, 20, "ASC-H")]
    geojson(slides / "ACC-2024-55_a.geojson", marks)
    return root


def collected() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((RAW / "collected.json").read_text())["sources"]
    return loaded


def test_fields_with_their_own_scale_then_no_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect(INCOMING, RAW)
    said = "".join(capsys.readouterr())
    first = bytes_below(RAW)
    records = read_manifest(RAW)
    assert sorted((item.source, item.patient, item.mpp and round(item.mpp, 4), item.labelled) for item in records) == [
        ("slides", "ACC-2024-55", 0.3, False),
        ("slides", "ACC-2024-55", 0.3, True),
        ("ward", "ACHTERBERG-4711", 0.25, False),
        ("ward", "ACHTERBERG-4711", 0.25, False),
        ("ward", "BERTA-9912", 0.5, False),
    ]
    assert {item.role for item in records} == {"field"}
    (box,) = [item for record in records for item in record.annotations]
    assert (box.label, box.bbox) == ("HSIL", (6.0, 6.0, 20.0, 20.0))
    ward = collected()["ward"]
    assert (ward["seen"], ward["kept"], ward["reasons"], ward["images"]) == (6, 5, {"slide_label": 1}, 3)
    assert ward["entries"]["seen"] == 3
    assert {Path(name).suffix for name in first} == {".png", ".json", ".jsonl"}, "no folder of the unpacking stays"
    collect(INCOMING, RAW)
    assert bytes_below(RAW) == first

    ensure_key()
    anonymize(RAW, Path("clean"), Path("quarantine"))
    said += "".join(capsys.readouterr())
    clean = read_manifest(Path("clean"))
    assert len(clean) == 5
    assert len({item.patient for item in clean}) == 3
    assert sorted(item.mpp or 0 for item in clean) == sorted(item.mpp or 0 for item in records)
    uids = [item.image_id for item in records] + [item.sha256 for item in records]
    assert survivors(RAW, NEEDLES), "the search itself must be able to find something"
    assert survivors(Path("clean"), NEEDLES) == set()
    assert not {item.image_id for item in clean} & set(uids)
    assert [needle for needle in NEEDLES if needle in said] == []
