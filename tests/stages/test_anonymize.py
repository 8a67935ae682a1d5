"""The phantom's planted identifiers, all of them, looked for in everything that the stage lets through."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zxingcpp
from PIL import Image, ImageDraw, ImageFont, ImageOps

from cytoline.errors import CytolineError
from cytoline.images import RGB, png_bytes, read_image
from cytoline.manifest import Annotation, Record, read_manifest, write_manifest
from cytoline.phantom import PhantomSpec, render_phantom
from cytoline.phantom.answer_key import AnswerKey, answer_key
from cytoline.pseudonyms import KEY_VARIABLE, Pseudonyms, ensure_key, synthetic_key
from stages.anonymize import jpeg, png
from stages.anonymize.__main__ import main
from stages.anonymize.audit import AUDIT, Ended, KeptBack, Passed, read_audit
from stages.anonymize.find import find_marks
from stages.anonymize.orientation import turn_box, turn_pixels, turned_size
from stages.anonymize.params import AnonymizeParams
from stages.anonymize.recreate import OUTCOME, Outcome, recreate
from stages.anonymize.redact import mask_of, paint
from stages.collect.__main__ import main as collect

PARAMS = AnonymizeParams(
    pseudonyms="keyed",
    max_megapixels=200,
    text_min_image=160,
    text_scale=384,
    text_score=0.5,
    text_max_height=0.2,
    margin=6,
)
PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared" / "data"
SPEC = PhantomSpec(
    patients=4, slides_per_patient=1, fields_per_slide=2, width=384, height=288, cells_max=7, burned_in=0.8, seed=9
)


def write_params(folder: Path, **anonymize: object) -> None:
    shown = {
        "seed": 0,
        "taxonomy": "bethesda",
        "profile": "cpu",
        "profiles": {"cpu": {}},
        "compute": {"scheduler": "local", "workers": 1, "threads": 1},
        "collect": {
            "sources": ["phantom"],
            "max_megapixels": 200,
            "max_file_megabytes": 64,
            "max_annotation_megabytes": 64,
        },
        "anonymize": {**PARAMS.model_dump(), **anonymize},
    }
    (folder / "params.yaml").write_text(json.dumps(shown), encoding="utf-8")
    if not (folder / "configs").exists():
        (folder / "configs").symlink_to(PROJECT / "configs")


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
        command = [sys.executable, "-m", "stages.anonymize"]
        options = ["--raw", "raw", "--out", "clean", "--quarantine", "quarantine"]
        patch.setenv("PYTHONPATH", str(PROJECT))
        ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    return Done(root, root / "source", answer_key(SPEC), ran.stdout + ran.stderr)


def forms(value: str) -> Iterator[bytes]:
    """A string as it may lie in a file: encodings, letter cases, base64 at each alignment."""
    for text in {value, value.upper(), value.lower(), value.replace("-", ""), value.replace(", ", " ")}:
        yield text.encode()
        yield text.encode("utf-16-le")
        yield text.encode("utf-16-be")
        for shift in range(3):
            yield base64.b64encode(b"\0" * shift + text.encode())[4 if shift else 0 : -4]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's name and bytes, with whatever zlib streams a PNG holds beside its pixels unpacked."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield str(path.relative_to(folder)), path.name.encode() + b"\n" + content
        no_pixels = re.sub(rb"(?s)IDAT.*IEND", b"", content)
        for found in re.finditer(rb"x[\x01\x5e\x9c\xda]", no_pixels if path.suffix == ".png" else b""):
            with suppress(zlib.error):
                yield f"{path.name} unpacked", zlib.decompressobj().decompress(no_pixels[found.start() :], 1 << 22)


def survivors(folder: Path, needles: list[str]) -> set[tuple[str, str]]:
    wanted = [(needle, form) for needle in needles for form in set(forms(needle)) if len(form) >= 5]
    return {
        (name, needle) for name, content in contents(folder) for needle, form in wanted if form in content
    }  # fmt: skip


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
        assert (jpeg if record.file.endswith("jpg") else png).verify(content) is None
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


# One image ------------------------------------------------------------------------------------------------------


def stained(width: int = 320, height: int = 240) -> RGB:
    rng = np.random.default_rng(0)
    return np.asarray(np.clip(rng.normal((205, 160, 195), 6, (height, width, 3)), 0, 255), np.uint8)


def labelled(text: str, at: tuple[int, int], size: int) -> RGB:
    image = Image.fromarray(stained())
    ImageDraw.Draw(image).text(at, text, fill=(10, 10, 20), font=ImageFont.load_default(size))
    return np.asarray(image, np.uint8)


def outcome_of(path: Path, params: AnonymizeParams = PARAMS) -> tuple[Outcome, bytes]:
    with Image.open(path) as image:
        width, height = image.size
    results = recreate(path, width, height, params)
    outcome = Outcome.model_validate_json(results[OUTCOME])
    assert set(results) == {OUTCOME, outcome.file} if outcome.file else {OUTCOME}
    return outcome, results[outcome.file] if outcome.file else b""


def test_text_is_found_and_plain_tissue_is_not() -> None:
    assert find_marks(stained(), PARAMS).all == ()
    found = find_marks(labelled("MRN 4471230", (40, 100), 18), PARAMS)
    assert len(found.texts) == 1
    assert mask_of(found.texts, (320, 240), 0)[110, 90] == 1


def test_small_crops_are_searched_for_codes_only() -> None:
    picture = labelled("MRN 4471230", (4, 4), 14)[:100, :100].copy()
    assert find_marks(picture, PARAMS).texts == ()
    code = np.array(zxingcpp.create_barcode("A-1", zxingcpp.BarcodeFormat.QRCode).to_image(scale=3))
    picture[: code.shape[0], : code.shape[1]] = code[..., None]
    assert len(find_marks(picture, PARAMS).barcodes) == 1


def test_paint_takes_the_colour_around_and_leaves_the_rest() -> None:
    rgb = np.full((60, 80, 3), (200, 100, 150), np.uint8)
    rgb[20:30, 20:60] = 0
    mask = mask_of([((20, 20), (59, 20), (59, 29), (20, 29))], (80, 60), 3)
    assert np.array_equal(paint(rgb, mask), np.full_like(rgb, (200, 100, 150)))
    assert mask.sum() == 46 * 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_moves_pixels_as_pillow_does_and_boxes_with_them(orientation: int, tmp_path: Path) -> None:
    rgb = stained(60, 40)
    rgb[5:15, 10:30] = (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    turned = turn_pixels(rgb, orientation)
    assert np.array_equal(turned, expected)
    assert turned_size((60, 40), orientation) == (turned.shape[1], turned.shape[0])
    x, y, w, h = map(int, turn_box((10, 5, 20, 10), (60, 40), orientation))
    blue = np.zeros(turned.shape[:2], bool)
    blue[y : y + h, x : x + w] = True
    assert np.array_equal((turned == (0, 0, 255)).all(axis=2), blue)
    outcome, content = outcome_of(tmp_path / "a.png")
    assert (outcome.orientation, outcome.file) == (orientation, "image.png")
    assert np.array_equal(read_image(content), expected)


def jpeg_of(rgb: RGB, folder: Path, **options: Any) -> bytes:
    Image.fromarray(rgb).save(folder / "made.jpg", quality=90, **options)
    return (folder / "made.jpg").read_bytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_a_jpeg_keeps_its_pixels_and_loses_all_words(tmp_path: Path, options: dict[str, object]) -> None:
    plain = jpeg_of(stained(), tmp_path, **options)
    words = b"".join(
        struct.pack(">BBH", 0xFF, marker, 14) + b"Anna Secret."
        for marker in (*range(0xE0, 0xF0), 0xFE)
    )  # fmt: skip
    dirty = plain[:2] + words + plain[2:] + b"Anna Secret. after the end"
    clean = jpeg.rewrite(dirty)
    assert b"Secret" not in clean
    assert jpeg.verify(clean) is None
    assert jpeg.verify(dirty) is not None
    assert np.array_equal(read_image(clean), read_image(plain))


@pytest.mark.parametrize(
    "odd",
    [
        lambda jpg: jpg[:-2],
        lambda jpg: jpg[: len(jpg) // 2],
        lambda jpg: jpg[:2] + b"garbage" + jpg[2:],
        lambda jpg: b"\x89PNG" + jpg,
        lambda jpg: jpg[:4] + b"\xff\xff" + jpg[6:],
        lambda jpg: b"\xff\xd8\xff\xd9",
        lambda jpg: b"",
    ],
)
def test_odd_jpegs_are_not_rewritten(tmp_path: Path, odd: object) -> None:
    with pytest.raises(jpeg.OddJpegError):
        jpeg.rewrite(odd(jpeg_of(stained(), tmp_path)))  # type: ignore[operator]


def test_the_jpeg_check_accounts_for_every_byte(tmp_path: Path) -> None:
    good = jpeg.rewrite(jpeg_of(stained(), tmp_path))
    comment = b"\xff\xfe\x00\x06Anna"
    at = good.index(b"\xff\xda")
    for bad in (good + b"A", good[:2] + comment + good[2:], good[:at] + comment + good[at:], good[:-2], b"", good[:30]):
        assert jpeg.verify(bad) is not None


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_the_png_check_accounts_for_every_byte() -> None:
    good = png_bytes(stained(20, 10))
    assert png.verify(good) is None
    rows = b"".join(b"\0" + bytes(60) for _ in range(10))
    head = good[:33]
    hidden = head + chunk(b"IDAT", zlib.compress(rows) + b"Anna") + chunk(b"IEND", b"")
    longer = head + chunk(b"IDAT", zlib.compress(rows + b"Anna")) + chunk(b"IEND", b"")
    for bad in (good + b"A", head + chunk(b"tEXt", b"a\0Anna") + good[33:], hidden, longer, good[:-12], b"", good[:50]):
        assert png.verify(bad) is not None
    assert png.verify(head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")) is None


@pytest.mark.skipif(not (SHARED / "phi/exif_samples").is_dir(), reason="../shared/data/phi is not there")
def test_camera_files_come_out_bare() -> None:
    """Real EXIF, GPS, XMP, maker notes and broken segments; without the search for text, which is not the point."""
    blind = PARAMS.model_copy(update={"text_min_image": 4096})
    files = [p for p in sorted((SHARED / "phi/exif_samples").rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg")]
    passed = 0
    for path in files[::3]:
        outcome, content = outcome_of(path, blind)
        if outcome.file is None:
            assert outcome.reason is not None
            continue
        passed += 1
        assert (jpeg if outcome.file == "image.jpg" else png).verify(content) is None
        assert not re.search(rb"Exif\0|http://ns\.adobe|Photoshop|JFIF|ICC_PROFILE|Canon|NIKON", content)
    assert passed >= len(files[::3]) * 0.8


@pytest.mark.skipif(not (SHARED / "bccd").is_dir(), reason="../shared/data/bccd is not there")
@pytest.mark.parametrize("number", [2, 212, 236, 272])
def test_real_cells_that_look_like_letters_are_left_alone(number: int) -> None:
    """Of 292 blood fields, these are among those where the text reader is surest of what is not there."""
    path = SHARED / f"bccd/JPEGImages/BloodImage_{number:05d}.jpg"
    outcome, content = outcome_of(path)
    assert (outcome.route, outcome.painted) == ("jpeg_rewrite", ())
    assert outcome.doubtful > 0
    assert np.array_equal(read_image(content), read_image(path))


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
    return root


def run_stage(root: Path) -> None:
    main(root / "raw", root / "clean", root / "quarantine")


def test_real_images_ask_for_a_key(here: Path) -> None:
    raw_store(here, {"a.png": png_bytes(stained())})
    with pytest.raises(CytolineError, match="need a pseudonym key") as caught:
        run_stage(here)
    assert "cytoline.pseudonyms" in caught.value.remedy
    assert not (here / "clean").exists()


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


def test_random_pseudonyms_are_refused_by_name(here: Path) -> None:
    write_params(here, pseudonyms="random")
    raw_store(here, {"a.png": png_bytes(stained())})
    with pytest.raises(CytolineError, match="`random`"):
        run_stage(here)
