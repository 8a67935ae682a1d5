"""collect: one raw store from all sources, every refusal reported, the last good state kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cytoline.errors import CytolineError
from cytoline.manifest import Record, read_manifest
from stages.collect.__main__ import main
from tests.planted_sources import (
    FULL,
    SHARED,
    bytes_below,
    coco,
    info,
    picture,
    plant,
    png_claiming,
    project,
    voc,
)

REPOSITORY = Path(__file__).resolve().parents[2]
INCOMING, RAW = Path("data/incoming"), Path("data/raw")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one good source of three fields, and the current folder in it."""
    root = project(tmp_path / "project", ["good"])
    monkeypatch.chdir(root)
    good_source(root / INCOMING / "good")
    return root


def good_source(folder: Path) -> None:
    plant(folder, info("fields-coco", patient_id="^(?P<patient>P[0-9])/", label_aliases={"hi grade": "HSIL"}))
    for number in (1, 2, 3):
        picture(folder / f"P{number}" / "f.png", number)
    box = {"category_id": 1, "bbox": [1, 2, 10, 12], "annotator": "Dr. X"}
    entries = [{"id": number, "file_name": f"P{number}/f.png"} for number in (1, 2, 3)]
    coco(folder, entries, [{**box, "image_id": 1}, {**box, "image_id": 2, "bbox": [30, 20, 20, 20]}])


def collected() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((RAW / "collected.json").read_text())
    return loaded


def notes() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RAW / "refused.jsonl").read_text().splitlines()]


def by_file(records: list[Record]) -> dict[str, Record]:
    return {record.patient: record for record in records}


def test_originals_go_on_byte_for_byte_under_content_ids(place: Path) -> None:
    main(INCOMING, RAW)
    records = read_manifest(RAW)
    assert sorted(record.patient for record in records) == ["P1", "P2", "P3"]
    for record in records:
        content = (RAW / "images" / record.file).read_bytes()
        assert content == (INCOMING / "good" / record.patient / "f.png").read_bytes()
        assert hashlib.sha256(content).hexdigest() == record.sha256
        assert record.file == f"{record.image_id}.png"
        assert (record.width, record.height, record.mpp, record.role, record.labelled) == (40, 30, 0.25, "field", True)
    one = by_file(records)["P1"]
    assert [(item.label, item.bbox, item.annotator) for item in one.annotations] == [("NILM", (1, 2, 10, 12), "Dr. X")]
    assert len({record.image_id for record in records}) == 3


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(place: Path, tmp_path: Path) -> None:
    main(INCOMING, RAW)
    first = bytes_below(RAW)
    shutil.rmtree(".cytoline")
    shutil.copytree(INCOMING, tmp_path / "elsewhere")
    main(tmp_path / "elsewhere", Path("again"))
    assert bytes_below(Path("again")) == first
    assert str(tmp_path) not in "".join(map(str, first.values()))


def test_an_added_image_leaves_the_others_as_they_were_and_a_deleted_one_leaves_nothing(place: Path) -> None:
    main(INCOMING, RAW)
    before = {record.image_id: record for record in read_manifest(RAW)}
    plant(INCOMING / "more", info("fields-plain"))
    picture(INCOMING / "more" / "x.png", 9)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("[good]", "[good, more]"))
    main(INCOMING, RAW)
    after = {record.image_id: record for record in read_manifest(RAW)}
    assert {name: after[name] for name in before} == before
    (new,) = set(after) - set(before)
    assert not after[new].labelled
    shutil.rmtree(INCOMING / "more")
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("[good, more]", "[good]"))
    main(INCOMING, RAW)
    assert {path.stem for path in (RAW / "images").iterdir()} == set(before)


def test_every_bad_input_is_refused_with_file_and_reason(place: Path, tmp_path: Path) -> None:
    bad = plant(INCOMING / "bad", info("fields-plain"))
    whole = picture(bad / "whole.jpg", 5, (200, 200)).read_bytes()
    (bad / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (bad / "empty.png").write_bytes(b"")
    (bad / "bomb.png").write_bytes(png_claiming(60_000, 60_000))
    (bad / "text.png").write_text("no image")
    (bad / "out.png").symlink_to(picture(tmp_path / "outside.png", 6))
    (bad / "whole2.jpg").write_bytes(whole)
    (Path(os.fsdecode(os.fsencode(bad) + b"/\xff.png"))).write_bytes(whole)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("[good]", "[good, bad]"))
    main(INCOMING, RAW)
    assert {(row["file"], row["reason"]) for row in notes() if row["source"] == "bad"} == {
        ("half.jpg", "truncated"),
        ("empty.png", "empty"),
        ("bomb.png", "too_large"),
        ("text.png", "unknown_format"),
        ("out.png", "link_out"),
        ("whole2.jpg", "duplicate"),
        ("\\xff.png", "name_not_utf8"),
    }
    counts = collected()["sources"]["bad"]
    assert (counts["seen"], counts["kept"], counts["refused"], counts["images"]) == (8, 1, 7, 1)
    assert sum(counts["reasons"].values()) == 7


def test_cut_boxes_are_reported_and_kept(place: Path) -> None:
    main(INCOMING, RAW)
    cut = [row for row in notes() if row["reason"] == "clipped"]
    assert [(row["file"], row["kept"]) for row in cut] == [("P2/f.png", True)]
    assert collected()["sources"]["good"]["clipped"] == 1
    assert by_file(read_manifest(RAW))["P2"].annotations[0].bbox == (30, 20, 10, 10)


def test_neither_console_nor_counts_name_a_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(INCOMING / "good" / "P4" / "MUELLER_Anna.png", 4)
    main(INCOMING, RAW)
    said = "".join(capsys.readouterr()) + (RAW / "collected.json").read_text()
    assert "no_annotation" in said
    assert "MUELLER" not in said
    assert "P4" not in said


def test_unknown_labels_of_all_sources_come_in_one_error_with_counts(place: Path) -> None:
    main(INCOMING, RAW)
    good = bytes_below(RAW)
    for name, label in (("typos", "HSLI"), ("others", "Candida")):
        folder = plant(INCOMING / name, info("fields-voc"))
        picture(folder / "a.png", len(name))
        (folder / "a.xml").write_text(voc([(label, 1, 1, 9, 9), (label, 2, 2, 9, 9), ("hsil ", 3, 3, 9, 9)]))
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("[good]", "[good, typos, others]"))
    with pytest.raises(CytolineError) as caught:
        main(INCOMING, RAW)
    assert "source others, typos" in caught.value.cause
    assert "'Candida' x2, 'HSLI' x2" in caught.value.cause
    assert "'hsil" not in caught.value.cause
    assert bytes_below(RAW) == good, "the last good state stays"
    assert [path.name for path in Path("data").iterdir() if path.name.endswith(".tmp")] == []


def test_listed_and_unlisted_sources(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(INCOMING / "spare", info("fields-plain"))
    main(INCOMING, RAW)
    assert collected()["not_listed"] == ["spare"]
    assert "not listed in collect.sources, so not read: spare" in capsys.readouterr().err
    for listed, said in (
        ("[good, gone]", "source folder data/incoming/gone is missing"),
        ("[good, good]", "more than once"),
        ("[../good]", "collect.sources.0"),
        ("[]", "collect.sources"),
    ):
        text = Path("params.yaml").read_text()
        Path("params.yaml").write_text(text.replace("[good]", listed))
        with pytest.raises(CytolineError, match=said):
            main(INCOMING, RAW)
        Path("params.yaml").write_text(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "data/incoming/good/source.yaml is missing"),
        ("kind: fields-coco\n", "data/incoming/good/source.yaml: `organ` is missing"),
        (json.dumps({**FULL, "kind": "wsi-regions", "regions": "x"}), "`regions`: expected `grid`, `geojson`"),
    ],
)
def test_a_source_without_a_valid_source_yaml_stops_collect(place: Path, text: str | None, said: str) -> None:
    path = INCOMING / "good" / "source.yaml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(CytolineError, match=said):
        main(INCOMING, RAW)
    assert not RAW.exists()


def test_a_phantom_is_rendered_and_its_planted_problems_are_found(place: Path) -> None:
    phantom = {"seed": 3, "patients": 3, "slides_per_patient": 1, "width": 256, "height": 256, "cells_max": 5}
    about = {**FULL, "kind": "phantom", "patient_id": "^(?P<patient>[^/]+)/", "phantom": phantom}
    (INCOMING / "phantom").mkdir()
    (INCOMING / "phantom" / "source.yaml").write_text(json.dumps(about))
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("[good]", "[phantom]"))
    main(INCOMING, RAW)
    counts = collected()["sources"]["phantom"]
    assert counts["kind"] == "phantom"
    assert counts["patients"] == 3
    assert counts["reasons"] == {"duplicate": 1, "truncated": 1}
    assert {"degenerate", "outside"} <= set(counts["boxes"]["reasons"])
    first = bytes_below(RAW)
    main(INCOMING, RAW)
    assert bytes_below(RAW) == first


def run_stage(out: Path) -> subprocess.Popen[str]:
    # Behind this process, so that on a busy machine, too, the test sees what the stage is at.
    command = [
        "nice",
        "-n",
        "10",
        sys.executable,
        "-m",
        "stages.collect",
        "--incoming",
        str(INCOMING),
        "--out",
        str(out),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe, env=environment, preexec_fn=heed_interrupts)


def heed_interrupts() -> None:
    """A job in a shell's background starts with Ctrl-C ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_leaves_the_last_good_state(place: Path) -> None:
    main(INCOMING, RAW)
    good = bytes_below(RAW)
    for number in range(60):
        picture(INCOMING / "good" / f"P{number % 9}" / f"{number}.png", 100 + number, (900, 900))
    entries = [{"id": number, "file_name": f"P{number % 9}/{number}.png"} for number in range(60)]
    coco(INCOMING / "good", entries, [])
    process = run_stage(RAW)
    until = time.monotonic() + 60
    while not list(Path("data").glob(".raw.*.tmp")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert bytes_below(RAW) == good
    assert list(Path("data").glob(".raw.*")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system (root)")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_named_and_the_old_out_stays(place: Path, small_disk: Path) -> None:
    picture(INCOMING / "good" / "P3" / "f.png", 7, (300, 300))
    (small_disk / "raw").mkdir()
    (small_disk / "raw" / "old").write_text("good")
    process = run_stage(small_disk / "raw")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert "the disk is full" in said
    assert bytes_below(small_disk) == {"raw/old": b"good"}


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data here")
def test_published_blood_fields(place: Path) -> None:
    shutil.copytree(SHARED / "bccd", INCOMING / "bccd", copy_function=shutil.copyfile)
    (INCOMING / "bccd").chmod(0o755)
    plant(INCOMING / "bccd", info("fields-voc"))
    text = Path("params.yaml").read_text().replace("[good]", "[bccd]").replace("bethesda", "blood")
    Path("params.yaml").write_text(text)
    main(INCOMING, RAW)
    counts = collected()["sources"]["bccd"]
    assert (counts["images"], counts["patients"], counts["refused"]) == (292, 292, 0)
    assert counts["boxes"] == {"seen": 3943, "kept": 3941, "refused": 2, "reasons": {"degenerate": 2}}
    assert counts["classes"] == {"RBC": 3348, "WBC": 301, "Platelets": 292}
