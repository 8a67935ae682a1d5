"""Scores, cases and peers: a copy of the input fails, a good output passes, what was not run is not scored."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from benchmarks.deid import barcodes, cases, peers, study, writing
from benchmarks.deid.cases import Case, generate, hidden, removed, retained
from benchmarks.deid.peers import PEERS, Peer
from benchmarks.deid.score import Action, Row, share, table, tallies
from cytoline.images import png_bytes, read_image


def test_the_actions_have_midi_b_names() -> None:
    assert {action.value for action in Action} == {
        *("tag retained", "tag removed", "text removed", "date shifted"),
        *("uid consistent", "patient id consistent", "pixels hidden", "pixels retained"),
    }


def test_the_table_counts_passed_and_withheld() -> None:
    rows = [
        Row("a", Action.TAG_REMOVED, True),
        Row("b", Action.TAG_REMOVED, False),
        Row("c", Action.TAG_REMOVED, True, withheld=True),
        Row("a", Action.PIXELS_RETAINED, False, withheld=True),
    ]
    assert [(t.action, t.passed, t.withheld, t.of) for t in tallies(rows)] == [
        ("tag removed", 2, 1, 3),
        ("pixels retained", 0, 1, 1),
    ]
    assert share(rows) == 0.5
    assert "| all | 2 | 4 | 2 | 0.5000 |" in table(rows)
    assert share([]) is None
    with pytest.raises(ValueError, match="twice"):
        tallies([rows[0], rows[0]])


def edited(folder: Path, out: Path, fresh_uids: bool = False, days: int = 40, drift: int = 0) -> None:
    """A small de-identifier: new names for names, dates moved by ``days`` and by ``drift`` more from file to file."""
    out.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        ds = dcmread(path)
        ds.PatientID = f"P-{ds.PatientID[1:4]}"
        ds.PatientName = ds.PatientID
        suffix = str(number) if fresh_uids else ""
        ds.StudyInstanceUID = f"1.2.3.{int(ds.StudyInstanceUID[-6:])}{suffix}"
        day = datetime.datetime.strptime(ds.StudyDate, "%Y%m%d") - datetime.timedelta(days=days + drift * number)
        ds.StudyDate = day.strftime("%Y%m%d")
        ds.save_as(out / f"{number}.dcm")


def passed(rows: list[Row]) -> dict[Action, bool]:
    return {action: all(row.passed for row in rows if row.action is action) for action in {row.action for row in rows}}


def test_a_study_that_was_done_well_passes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    study.write(tmp_path / "in")
    edited(tmp_path / "in", tmp_path / "out")
    assert all(passed(study.judge(tmp_path / "out")).values())


def test_a_copied_study_fails_where_something_had_to_change(tmp_path: Path) -> None:
    study.write(tmp_path)
    assert passed(study.judge(tmp_path)) == {
        Action.PIXELS_RETAINED: True,
        Action.TAG_RETAINED: True,
        Action.UID_CONSISTENT: False,
        Action.PATIENT_ID_CONSISTENT: False,
        Action.DATE_SHIFTED: False,
    }


def test_uids_of_files_that_belong_together_must_stay_equal(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    study.write(tmp_path / "in")
    edited(tmp_path / "in", tmp_path / "out", fresh_uids=True, days=0)
    rows = passed(study.judge(tmp_path / "out"))
    assert not rows[Action.UID_CONSISTENT]
    assert not rows[Action.DATE_SHIFTED]
    assert rows[Action.PATIENT_ID_CONSISTENT]


def test_dates_of_a_person_must_move_together(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    study.write(tmp_path / "in")
    edited(tmp_path / "in", tmp_path / "out", drift=1)
    assert {action for action, good in passed(study.judge(tmp_path / "out")).items() if not good} == {
        Action.DATE_SHIFTED
    }


def test_an_empty_output_retains_nothing(tmp_path: Path) -> None:
    rows = study.judge(tmp_path)
    assert not any(row.passed for row in rows)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return generate(tmp_path_factory.mktemp("bench"), ("places", "study"))


def test_generate_writes_a_folder_per_place(generated: list[Case]) -> None:
    names = [case.name for case in generated]
    assert len(names) == len(set(names)) > 110
    assert len({case.input for case in generated}) == len(generated)
    assert all(any(case.input.rglob("*")) for case in generated)
    # The folders that hold the cases may not say what is planted in them.
    assert not any(str(needle) in str(case.input) for case in generated for needle in case.needles)


def test_a_copy_leaks_an_empty_folder_is_withheld(generated: list[Case], tmp_path: Path) -> None:
    case = next(case for case in generated if case.name == "jpeg/COM")
    shutil.copytree(case.input, tmp_path / "copy")
    assert removed(case, tmp_path / "copy") == Row("jpeg/COM", Action.TAG_REMOVED, False)
    assert removed(case, tmp_path / "nothing") == Row("jpeg/COM", Action.TAG_REMOVED, True, withheld=True)
    (tmp_path / "good").mkdir()
    pixels = png_bytes(read_image(cases.image_of(case)))
    (tmp_path / "good/image.png").write_bytes(pixels)
    assert removed(case, tmp_path / "good") == Row("jpeg/COM", Action.TAG_REMOVED, True)


def test_hidden_and_retained_look_at_the_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    condition = writing.CONDITIONS[1]
    monkeypatch.setattr(writing, "pages", lambda: [writing.page(condition, 0, 100, (1000, 640))])
    made = generate(tmp_path / "bench", ("text",))
    assert [case.mark for case in made] == [1, 2, 3]
    copy = cases.image_of(made[0])
    assert not hidden(made[0], copy).passed
    assert retained(made[0], copy).passed
    assert hidden(made[0], None) == Row(made[0].name, Action.PIXELS_HIDDEN, True, withheld=True)
    assert not retained(made[0], None).passed
    painted = read_image(copy)
    page = writing.page(condition, 0, 100, (1000, 640))
    around = cv2.dilate(page.inks[0].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    painted[around] = (200, 170, 220)
    (tmp_path / "out.png").write_bytes(png_bytes(painted))
    assert hidden(made[0], tmp_path / "out.png").passed
    assert not hidden(made[1], tmp_path / "out.png").passed
    assert not retained(made[0], tmp_path / "out.png").passed


def test_a_barcode_in_other_colours_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = barcodes.label("QRCode", 0, barcodes.LARGE, None, 0, 100)
    monkeypatch.setattr(barcodes, "labels", lambda: [made])
    case = generate(tmp_path / "bench", ("barcodes",))[0]
    assert case.readable
    monkeypatch.setattr(writing, "ECHO", 2)  # so that only the reader is left to object
    (tmp_path / "inverted.png").write_bytes(png_bytes(255 - made.image))
    assert not hidden(case, tmp_path / "inverted.png").passed
    painted = made.image.copy()
    painted[made.ink] = (180, 150, 210)
    (tmp_path / "painted.png").write_bytes(png_bytes(painted))
    assert hidden(case, tmp_path / "painted.png").passed


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    generate(tmp_path, ("study",))
    with pytest.raises(FileExistsError):
        generate(tmp_path, ("study",))


def test_pillow_keeps_a_comment_and_the_search_sees_it(generated: list[Case], tmp_path: Path) -> None:
    ready = peers.install(next(peer for peer in PEERS if peer.name == "Pillow re-save"), tmp_path)
    assert ready.version
    leaks = {}
    for name in ("jpeg/COM", "jpeg/after-EOI-text"):
        case = next(case for case in generated if case.name == name)
        before = sorted(path.name for path in case.input.rglob("*"))
        outcome = peers.run(ready, case.input, tmp_path / name.replace("/", "_"))
        assert outcome.ended_well
        assert sorted(path.name for path in case.input.rglob("*")) == before
        leaks[name] = not removed(case, outcome.output).passed
    assert leaks == {"jpeg/COM": True, "jpeg/after-EOI-text": False}


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on this machine")
def test_exiftool_removes_a_comment(generated: list[Case], tmp_path: Path) -> None:
    ready = peers.install(PEERS[0], tmp_path)
    case = next(case for case in generated if case.name == "jpeg/COM")
    outcome = peers.run(ready, case.input, tmp_path / "out")
    assert outcome.ended_well
    assert removed(case, outcome.output) == Row("jpeg/COM", Action.TAG_REMOVED, True)


def test_a_peer_that_is_not_there_is_not_run(tmp_path: Path) -> None:
    absent = peers.install(Peer("absent", None, ("no-such-program",), frozenset()), tmp_path)
    assert absent.not_run
    with pytest.raises(ValueError, match="ready"):
        peers.run(absent, tmp_path, tmp_path / "out")
