"""Folders with and without something in them, through the command that a user types."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cytoline.deid import command, exiftool
from cytoline.deid.audit import AUDIT, Begun, Ended, write_audit
from cytoline.deid.command import deidentify, verify_deid
from cytoline.deid.locking import locked
from cytoline.errors import CytolineError
from cytoline.images import RGB, png_bytes, read_image
from cytoline.manifest import Annotation, Record, json_line, write_manifest
from cytoline.pseudonyms import KEY_VARIABLE
from tests.planted_workers import in_a_thread, no_workers_in

PROJECT = Path(__file__).parents[3]
NAME = "MUELLER ANNA"
CODE = "0123456789abcdef" * 2

no_workers = no_workers_in(command)


def tissue(seed: int = 0) -> RGB:
    rng = np.random.default_rng(seed)
    grain = rng.normal((205, 160, 195), 6, (200, 260, 3))
    return np.asarray(np.clip(grain, 0, 255), np.uint8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of work with the project's params and a key outside of it."""
    work = tmp_path / "work"
    work.mkdir()
    text = (PROJECT / "params.yaml").read_text(encoding="utf-8").replace("workers: 0", "workers: 1")
    (work / "params.yaml").write_text(text, encoding="utf-8")
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    monkeypatch.setenv(KEY_VARIABLE, str(key))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def clean(here: Path) -> Path:
    """What the stage leaves: an image, its record, the log, the totals."""
    folder = here / "clean"
    (folder / "images").mkdir(parents=True)
    (here / "data/incoming/clinic").mkdir(parents=True)
    (here / "configs").mkdir()
    (here / "configs/taxonomies").symlink_to(PROJECT / "configs/taxonomies")
    (folder / "images" / f"{CODE}.png").write_bytes(png_bytes(tissue()))
    record = Record(
        image_id=CODE,
        file=f"{CODE}.png",
        sha256="0" * 64,
        width=260,
        height=200,
        mpp=None,
        patient="1" * 32,
        slide="2" * 32,
        source="clinic",
        organ="cervix",
        stain="papanicolaou",
        role="field",
        annotations=(Annotation(bbox=(1, 2, 30, 40), label="HSIL"),),
    )
    write_manifest(folder, [record])
    ended = Ended(came_in=1, untouched=1, redacted=0, quarantined=0, rejected=0)
    write_audit(folder / AUDIT, [Begun(private_key="0" * 8, synthetic_key=None), ended])
    (folder / "summary.json").write_text(json_line({"images": {"in": 1}, "boxes": 1}))
    return folder


def verdict(path: Path, **options: object) -> tuple[int, list[dict[str, object]]]:
    """Exit code and what was found."""
    defaults: dict[str, object] = {
        "identifiers": None,
        "words": None,
        "pixels": True,
        "names": True,
        "show_names": False,
    }
    told = path.parent / "told.json"
    try:
        verify_deid(path, as_json=told, **(defaults | options))  # type: ignore[arg-type]
    except typer.Exit as end:
        return end.exit_code, json.loads(told.read_text())
    return 0, json.loads(told.read_text())


def kinds(rows: list[dict[str, object]]) -> set[str]:
    return {finding["why"] for row in rows for finding in row["findings"]}  # type: ignore[attr-defined]


def test_what_the_stage_leaves_is_clean(clean: Path) -> None:
    code, rows = verdict(clean)
    assert (code, kinds(rows)) == (0, set())
    assert len(rows) == 4


@pytest.mark.workers
def test_each_kind_of_trouble_is_found_and_not_repeated(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = PngInfo()
    info.add_text("Artist", NAME)
    buffer = io.BytesIO()
    Image.fromarray(tissue(1)).save(buffer, "PNG", pnginfo=info)
    (clean / "images" / f"{'a' * 32}.png").write_bytes(buffer.getvalue())
    (clean / "images" / f"{'b' * 32}.png").write_bytes(png_bytes(tissue(2)) + NAME.encode())
    written = tissue(3)
    cv2.putText(written, NAME, (10, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (10, 10, 10), 1, cv2.LINE_AA)
    (clean / "images" / f"{'c' * 32}.png").write_bytes(png_bytes(written))
    (clean / "images" / f"{NAME}.png").write_bytes(png_bytes(tissue(4)))
    (clean / "images" / f"{'d' * 32}.png").symlink_to(clean / "images" / f"{CODE}.png")
    (clean / "notes.txt").write_text(NAME)
    code, rows = verdict(clean)
    assert code == 1
    assert {"metadata", "trailing", "text", "name", "unsupported"} <= kinds(rows)
    bad = {str(row["file"]).partition("/")[2][:1] for row in rows if row["findings"]}
    assert {"a", "b", "c", "d"} <= bad
    assert "0" not in bad
    said = capsys.readouterr()
    assert NAME not in said.out + said.err + json.dumps(rows)


def test_known_identifiers_are_searched_for(clean: Path, here: Path) -> None:
    listed = here / "identifiers.txt"
    listed.write_text("clinic-of-nobody\nA24-118397\n")
    assert verdict(clean, identifiers=listed)[0] == 0
    path = clean / "manifest.jsonl"
    path.write_text(path.read_text().replace("papanicolaou", "pap A24-118397"))
    code, rows = verdict(clean, identifiers=listed)
    assert (code, kinds(rows)) == (1, {"identifier", "value"})


def test_short_identifiers_are_searched_for_as_words(clean: Path, here: Path) -> None:
    listed = here / "identifiers.txt"
    listed.write_text("4471\nLi\n260\n")
    assert verdict(clean, identifiers=listed, pixels=False)[0] == 0, "260 is a width here"
    path = clean / "manifest.jsonl"
    whole = path.read_text()
    for name in ("4471", "Li"):
        path.write_text(whole.replace("papanicolaou", f"pap ({name})"))
        assert "identifier" in kinds(verdict(clean, identifiers=listed, pixels=False)[1])


@pytest.mark.parametrize(
    "text",
    [
        '{"images":{"anna mueller":1}}\n',
        '{"anna mueller":1}\n',
        '{"boxes":1,"boxes":2}\n',
        '{"boxes": 1}\n',
        '{"boxes":1.5}\n',
        '{"boxes":true}\n',
        '{"boxes":10000000000000000}\n',
        '{"quarantine_reasons":{"mueller":1}}\n',
    ],
)
def test_a_summary_holds_the_counts_that_the_stage_writes_and_nothing_else(clean: Path, text: str) -> None:
    (clean / "summary.json").write_text(text)
    code, rows = verdict(clean, pixels=False)
    assert (code, kinds(rows)) == (1, {"value"})


def test_a_person_may_allow_further_words(clean: Path, here: Path) -> None:
    path = clean / "manifest.jsonl"
    path.write_text(path.read_text().replace('"organ":"cervix"', '"organ":"gill"'))
    assert verdict(clean, pixels=False)[0] == 1
    listed = here / "words.txt"
    listed.write_text("gill\n")
    assert verdict(clean, pixels=False, words=listed)[0] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"patient":"11111111111111111111111111111111"', '"patient":"Anna Mueller"'),
        ('"label":"HSIL"', '"label":"HSIL; seen by Dr. Mueller on 3 May, call back please"'),
        ('"annotator":null', '"annotator":"Mueller"'),
        ('"label":"HSIL"', '"label":"Anna Mueller"'),
        ('"organ":"cervix"', '"organ":"Anna Mueller"'),
        ('"stain":"papanicolaou"', '"stain":"A24-118397"'),
        ('"source":"clinic"', '"source":"anna-mueller"'),
        ('"organ":"cervix"', '"organ":"Anna Mueller","organ":"cervix"'),
        ('"organ":"cervix"', '"organ": "cervix"'),
        (f'"file":"{CODE}.png"', f'"file":"{CODE}.Anna-Mueller"'),
    ],
)
def test_a_manifest_may_hold_codes_and_words_of_a_taxonomy_only(clean: Path, old: str, new: str) -> None:
    path = clean / "manifest.jsonl"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    code, rows = verdict(clean, pixels=False)
    assert (code, kinds(rows)) == (1, {"value"})


def test_a_log_that_was_added_to_is_found(clean: Path) -> None:
    with (clean / AUDIT).open("a") as log:
        log.write('{"event":"note","text":"Anna Mueller"}\n')
    assert verdict(clean, pixels=False)[0] == 1


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="this system has no extended attributes")
def test_extended_attributes_are_found(clean: Path) -> None:
    try:
        os.setxattr(clean / "images" / f"{CODE}.png", "user.comment", NAME.encode())
    except OSError:
        pytest.skip("this file system has no extended attributes")
    code, rows = verdict(clean, pixels=False)
    assert (code, kinds(rows)) == (1, {"metadata"})


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="this system has no extended attributes")
def test_extended_attributes_of_folders_are_found(clean: Path) -> None:
    for folder in (clean, clean / "images"):
        try:
            os.setxattr(folder, "user.comment", NAME.encode())
        except OSError:
            pytest.skip("this file system has no extended attributes")
        code, rows = verdict(clean, pixels=False)
        assert (code, kinds(rows)) == (1, {"metadata"})
        os.removexattr(folder, "user.comment")


def test_a_question_that_makes_no_sense_is_an_error(here: Path) -> None:
    with pytest.raises(CytolineError, match="no such file"):
        verdict(here / "nowhere")
    (here / "empty").mkdir()
    with pytest.raises(CytolineError, match="no file to look through"):
        verdict(here / "empty")


@pytest.mark.skipif(not exiftool.available(), reason="exiftool is not here")
def test_exiftool_sees_what_it_can_see_and_no_value_comes_out(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    exif = Image.Exif()
    exif[0x013B] = NAME
    Image.fromarray(tissue()).save(good, quality=90)
    Image.fromarray(tissue()).save(bad, quality=90, exif=exif.tobytes())
    found = exiftool.check([good, bad, tmp_path / "missing.jpg"])
    assert set(found) == {bad, tmp_path / "missing.jpg"}
    assert NAME not in repr(found)


@pytest.mark.workers
def test_deidentify_makes_a_folder_that_verify_finds_nothing_in(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = here / NAME
    source.mkdir()
    exif = Image.Exif()
    exif[0x013B] = NAME
    Image.fromarray(tissue(5)).save(source / f"{NAME}.jpg", quality=90, exif=exif.tobytes())
    written = tissue(6)
    cv2.putText(written, NAME, (10, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (10, 10, 10), 1, cv2.LINE_AA)
    (source / "two.png").write_bytes(png_bytes(written))
    (source / "letter.txt").write_text(NAME)
    (source / "cut.png").write_bytes(png_bytes(written)[:500])
    deidentify(source, here / "out")
    made = sorted((here / "out/images").iterdir())
    assert [path.suffix for path in made].count(".jpg") == 1
    assert len(made) == 2
    whole = next(path for path in made if path.suffix == ".jpg")
    assert np.array_equal(read_image(whole), read_image(source / f"{NAME}.jpg")), "no pixel changed"
    monkeypatch.setattr(command, "worker_pool", in_a_thread)
    assert verdict(here / "out")[0] == 0
    said = capsys.readouterr()
    assert "1 x other: no_image" in said.out
    assert "1 x image: unreadable" in said.out
    assert NAME not in said.out + said.err
    with pytest.raises(CytolineError, match="there already"):
        deidentify(source, here / "out")
    with pytest.raises(CytolineError, match="inside the source"):
        deidentify(source, source / "out")


def test_folders_without_files_and_files_that_may_not_be_read_are_not_passed_over(clean: Path, here: Path) -> None:
    (clean / NAME).mkdir()
    code, rows = verdict(clean, pixels=False)
    assert code == 1
    assert "name" in kinds(rows)
    assert NAME not in json.dumps(rows)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_does_not_hold_the_others_up(clean: Path) -> None:
    os.mkfifo(clean / "images" / f"{'e' * 32}.png")
    code, rows = verdict(clean, pixels=False)
    assert code == 1
    assert sum(bool(row["findings"]) for row in rows) == 1


def test_random_pseudonyms_are_refused_where_workers_would_each_draw_their_own(here: Path) -> None:
    params = here / "params.yaml"
    params.write_text(params.read_text().replace("pseudonyms: keyed", "pseudonyms: random"))
    (here / "source").mkdir()
    with pytest.raises(CytolineError, match="random pseudonyms"):
        deidentify(here / "source", here / "out")


def test_text_in_a_picture_of_one_cell_is_found(clean: Path) -> None:
    small = tissue()[:60, :128].copy()
    (clean / "images" / f"{'a' * 32}.png").write_bytes(png_bytes(small))
    assert verdict(clean)[0] == 0
    cv2.putText(small, "A24-1183", (4, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 10, 20), 1, cv2.LINE_AA)
    (clean / "images" / f"{'a' * 32}.png").write_bytes(png_bytes(small))
    code, rows = verdict(clean)
    assert (code, kinds(rows)) == (1, {"text"})


def test_two_runs_into_one_output_are_kept_apart(here: Path) -> None:
    (here / "source").mkdir()
    with locked(here / "out"), pytest.raises(CytolineError, match="another program"):
        deidentify(here / "source", here / "out")
    assert not (here / "out").exists()
