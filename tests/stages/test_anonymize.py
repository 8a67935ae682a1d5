"""The phantom's planted identifiers, all of them, looked for in everything that the stage lets through."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zxingcpp
from planted_identifiers import PROJECT, labelled, stained, survivors, write_params

from cytoline.deid.accounting import account
from cytoline.deid.audit import AUDIT, Ended, KeptBack, Passed, read_audit
from cytoline.errors import CytolineError
from cytoline.images import png_bytes, read_image
from cytoline.manifest import Annotation, Record, read_manifest, write_manifest
from cytoline.phantom import PhantomSpec, render_phantom
from cytoline.phantom.answer_key import AnswerKey, answer_key
from cytoline.pseudonyms import CROSSWALK_VARIABLE, KEY_VARIABLE, Pseudonyms, ensure_key, synthetic_key
from stages.anonymize import __main__ as command
from stages.anonymize.__main__ import main
from stages.collect.__main__ import main as collect
from tests.planted_workers import no_workers_in

SPEC = PhantomSpec(
    patients=4, slides_per_patient=1, fields_per_slide=2, width=384, height=288, cells_max=7, burned_in=0.8, seed=9
)

no_workers = no_workers_in(command)


# The phantom ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """collect and anonymize have run on a phantom; ``source`` is what they were given, ``said`` what they printed."""

    root: Path
    source: Path
    key: AnswerKey
    said: str

    def clean_of(self, file: str) -> Record:
        """The clean record made of a file of the source."""
        digest = hashlib.sha256((self.source / file).read_bytes()).hexdigest()
        raw_id = hashlib.sha256(f"phantom|{digest}".encode()).hexdigest()[:32]
        name = Pseudonyms(synthetic_key()).of("file", raw_id)
        return next(record for record in read_manifest(self.root / "clean") if record.image_id == name)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("phantom")
    about = yaml.safe_load((PROJECT / "data/incoming/phantom/source.yaml").read_text(encoding="utf-8"))
    about["phantom"] = SPEC.model_dump(mode="json")
    (root / "incoming/phantom").mkdir(parents=True)
    (root / "incoming/phantom/source.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    render_phantom(SPEC, root / "source")
    write_params(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv(KEY_VARIABLE, str(root / "there is none"))
        collect(root / "incoming", root / "raw")
        words = [sys.executable, "-m", "stages.anonymize"]
        options = ["--raw", "raw", "--out", "clean", "--quarantine", "quarantine"]
        patch.setenv("PYTHONPATH", str(PROJECT))
        ran = subprocess.run([*words, *options], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    return Done(root, root / "source", answer_key(SPEC), ran.stdout + ran.stderr)


def needles(done: Done) -> list[str]:
    raw = read_manifest(done.root / "raw")
    return [
        *done.key.needles(),
        *{Path(item.file).stem for item in done.key.planted},
        *{part for item in done.key.planted for part in Path(item.file).parts[:-1]},
        *(record.image_id for record in raw),
        *(record.sha256 for record in raw if record.file.endswith((".png", ".bmp", ".tif"))),
        *{record.patient for record in raw},
        "cytoline phantom",
    ]


def test_not_one_planted_identifier_survives(done: Done) -> None:
    wanted = needles(done)
    places = {item.place.rpartition(":")[0] or item.place for item in done.key.planted}
    assert places >= {"folder", "file name", "exif", "xmp", "jpeg", "png:tEXt", "png:iTXt", "bmp", "pixels"}
    assert len(survivors(done.root / "raw", wanted)) > 40, "the search itself must be able to find something"
    assert survivors(done.root / "clean", wanted) == set()


def test_nor_is_one_said_on_the_console(done: Done) -> None:
    assert "redacted" in done.said
    assert [needle for needle in needles(done) if needle in done.said] == []


def test_quarantine_lists_no_name(done: Done) -> None:
    assert (done.root / "quarantine/quarantine.jsonl").read_text() == ""


def test_burned_in_text_and_codes_are_gone_from_the_pixels(done: Done) -> None:
    marks = done.key.burned_in()
    assert {mark.kind for mark in marks} >= {"barcode", "name"}
    for mark in marks:
        record = done.clean_of(mark.file)
        before, after = read_image(done.source / mark.file), read_image(done.root / "clean/images" / record.file)
        assert mark.box is not None
        x, y, w, h = mark.box
        quiet = 20 if mark.kind == "barcode" else 0  # the white rim round a code holds nothing
        inside = after[y + 1 : y + h - 1, x + quiet : x + w - quiet]
        assert np.ptp(inside.reshape(-1, 3), axis=0).max() <= 3, f"{mark.kind} in {record.image_id}"
        assert np.ptp(before[y : y + h, x : x + w]) > 100, "there was something to see"


def test_neither_ocr_nor_a_scanner_reads_anything_in_the_output(done: Done) -> None:
    from rapidocr import RapidOCR

    one_thread = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
    reader = RapidOCR(params={"Global.log_level": "critical", "Det.limit_side_len": 480, **one_thread})
    plain = {re.sub(r"\W", "", needle).casefold() for needle in done.key.needles()}
    for file in sorted({mark.file for mark in done.key.burned_in()})[::3]:
        image = read_image(done.root / "clean/images" / done.clean_of(file).file)[:, :, ::-1].copy()
        assert zxingcpp.read_barcodes(image) == []
        found: Any = reader(image)
        letters = re.sub(r"\W", "", "".join(found.txts or ()).casefold())
        assert not [needle for needle in plain if needle in letters]
        assert not re.search(r"\d{5}", letters)


def test_fields_without_marks_keep_every_pixel(done: Done) -> None:
    marked = {mark.file for mark in done.key.burned_in()}
    plain = sorted(set(done.key.patients) - marked - {file for _, file in done.key.faults})
    assert plain
    for file in plain:
        record = done.clean_of(file)
        clean = done.root / "clean/images" / record.file
        assert np.array_equal(read_image(done.source / file), read_image(clean))
        assert clean.suffix == (".jpg" if file.endswith(".jpg") else ".png")


def test_only_touched_boxes_are_marked_redacted(done: Done) -> None:
    records = read_manifest(done.root / "clean")
    marked = {done.clean_of(mark.file).image_id for mark in done.key.burned_in()}
    redacted = {record.image_id for record in records if any(item.redacted for item in record.annotations)}
    assert redacted <= marked
    assert len(records) > len(marked)


def test_patients_stay_apart_and_together(done: Done) -> None:
    true = {
        done.clean_of(file).image_id: patient for file, patient in done.key.patients.items() if "IMG_0000" not in file
    }
    given = {record.image_id: record.patient for record in read_manifest(done.root / "clean")}
    pairs = {(true[image], given[image]) for image in given}
    assert len(pairs) == len(dict(pairs)) == len({new for _, new in pairs}) == SPEC.patients


def test_the_manifest_fits_the_files(done: Done) -> None:
    for record in read_manifest(done.root / "clean"):
        content = (done.root / "clean/images" / record.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record.sha256
        assert read_image(content).shape == (record.height, record.width, 3)
        assert all(re.fullmatch("[0-9a-f]{32}", code) for code in (record.image_id, record.patient, record.slide))
        assert account(content) == []
    files = {path.name for path in (done.root / "clean/images").iterdir()}
    assert files == {record.file for record in read_manifest(done.root / "clean")}


def test_the_log_accounts_for_every_image(done: Done) -> None:
    events = read_audit(done.root / "clean" / AUDIT)
    ended = events[-1]
    assert isinstance(ended, Ended)
    passed = [event for event in events if isinstance(event, Passed)]
    assert ended.came_in == len(read_manifest(done.root / "raw")) == len(passed)
    refused = {file for kind, file in done.key.faults if kind in ("truncated", "duplicate")}
    assert ended.redacted == len({mark.file for mark in done.key.burned_in()} - refused)


@pytest.mark.parametrize("harm", ["change", "remove", "swap", "cut", "words"])
def test_a_touched_log_is_noticed(done: Done, tmp_path: Path, harm: str) -> None:
    lines = (done.root / "clean" / AUDIT).read_text().splitlines(keepends=True)
    if harm == "change":
        lines[2] = lines[2].replace('"doubtful":0', '"doubtful":1') if '"doubtful":0' in lines[2] else lines[2] + " "
    elif harm == "words":
        lines[-1] = lines[-1].replace('"event"', '"note":"Anna","event"')
    elif harm == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        del lines[-1 if harm == "cut" else 1]
    (tmp_path / AUDIT).write_text("".join(lines))
    with pytest.raises(CytolineError, match=r"is not what was written|the end is missing"):
        read_audit(tmp_path / AUDIT)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_sees_nothing_but_the_picture(done: Done) -> None:
    out = subprocess.run(
        ["exiftool", "-json", "-a", "-G1", "-r", str(done.root / "clean/images")], capture_output=True, check=True
    ).stdout
    groups = {key.split(":")[0] for entry in json.loads(out) for key in entry}
    assert groups <= {"SourceFile", "ExifTool", "System", "File", "PNG", "Composite", "Adobe"}


# Real sources, trouble ------------------------------------------------------------------------------------------


def raw_store(root: Path, images: dict[str, bytes], kind: str = "fields-plain") -> None:
    (root / "raw/images").mkdir(parents=True)
    records = []
    for number, (name, content) in enumerate(images.items()):
        (root / "raw/images" / name).write_bytes(content)
        record = Record(
            image_id=Path(name).stem,
            file=name,
            sha256=hashlib.sha256(content).hexdigest(),
            width=320,
            height=240,
            mpp=0.5,
            patient=f"Anna {number}",
            slide="1",
            source="clinic",
            organ="cervix",
            stain="papanicolaou",
            role="field",
            annotations=(Annotation(bbox=(40, 96, 30, 30), label="HSIL", annotator="Dr. Berta"),),
        )
        records.append(record)
    write_manifest(root / "raw", records)
    (root / "raw/collected.json").write_text(json.dumps({"sources": {"clinic": {"kind": kind}}}))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    write_params(root)
    monkeypatch.chdir(root)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "pseudonym.key"))
    monkeypatch.setenv(CROSSWALK_VARIABLE, str(tmp_path / "crosswalk.json"))
    return root


def run_stage(root: Path) -> None:
    main(root / "raw", root / "clean", root / "quarantine")


def test_real_images_ask_for_a_key(here: Path) -> None:
    raw_store(here, {"a.png": png_bytes(stained())})
    with pytest.raises(CytolineError, match="need a pseudonym key") as caught:
        run_stage(here)
    assert "cytoline.pseudonyms" in caught.value.remedy
    assert not (here / "clean").exists()


@pytest.mark.workers
def test_what_cannot_be_made_anew_is_kept_back_and_counted(here: Path) -> None:
    ensure_key()
    good = png_bytes(labelled("MRN 4471230", (40, 100), 18))
    other_size = png_bytes(stained(300, 200))
    raw_store(here, {"a.png": good, "b.png": good[:2000], "c.png": other_size, "d.png": b"no image at all"})
    run_stage(here)
    events = read_audit(here / "clean" / AUDIT)
    assert sorted(event.reason for event in events if isinstance(event, KeptBack)) == [
        "size_differs",
        "unreadable",
        "unreadable",
    ]
    rows = [json.loads(line) for line in (here / "quarantine/quarantine.jsonl").read_text().splitlines()]
    assert {path.name for path in (here / "quarantine/images").iterdir()} == {f"{row['image_id']}.png" for row in rows}
    assert len(rows) == 3
    (record,) = read_manifest(here / "clean")
    assert record.annotations[0].redacted
    assert record.annotations[0].annotator not in (None, "Dr. Berta")
    images = json.loads((here / "clean/summary.json").read_text())["images"]
    assert images == {"in": 4, "untouched": 0, "redacted": 1, "quarantined": 3, "rejected": 0}
    assert survivors(here / "clean", ["Anna", "Berta", "4471230"]) == set()


def test_another_key_gives_other_names_and_the_same_one_the_same(here: Path, tmp_path: Path) -> None:
    write_params(here, text_min_image=4096)
    raw_store(here, {"a.png": png_bytes(stained())})
    ensure_key()
    seen = []
    for fresh_key in (False, False, True):
        if fresh_key:
            (tmp_path / "pseudonym.key").unlink()
            ensure_key()
        run_stage(here)
        seen.append({path.name: path.read_bytes() for path in (here / "clean").glob("*.json*")})
    assert seen[0] == seen[1] != seen[2]
    logged = (here / "clean" / AUDIT).read_text()
    assert (tmp_path / "pseudonym.key").read_text().strip()[:16] not in logged


def test_only_a_real_phantom_gets_the_public_key(here: Path) -> None:
    raw_store(here, {"a.png": png_bytes(stained())}, kind="fields-coco")
    (here / "raw/collected.json").unlink()
    with pytest.raises(CytolineError, match="need a pseudonym key"):
        run_stage(here)


@pytest.mark.workers  # each with a memory of its own
def test_random_pseudonyms_are_remembered_in_the_crosswalk(here: Path, tmp_path: Path) -> None:
    write_params(here, pseudonyms="random", text_min_image=4096)
    raw_store(here, {"a.png": png_bytes(stained())})
    names = []
    for forget in (False, False, True):
        if forget:
            (tmp_path / "crosswalk.json").unlink()
        run_stage(here)
        names += [record.image_id for record in read_manifest(here / "clean")]
    assert names[0] == names[1] != names[2]
