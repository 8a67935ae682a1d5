"""Quarantine, a person's decision, the next run: on planted codes, letters and leaks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
import zxingcpp
from planted_identifiers import PARAMS, labelled, stained, write_params

from cytoline.deid import exiftool
from cytoline.deid.audit import AUDIT, KeptBack, Passed, Rejected, Released, read_audit
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.review.decisions import Box, Decision, Stated, Word, latest, read_decisions, record
from cytoline.deid.review.quarantine import Held, read_quarantine
from cytoline.images import RGB, png_bytes, read_image
from cytoline.manifest import Annotation, Record, read_manifest, write_manifest
from cytoline.pseudonyms import KEY_VARIABLE, Pseudonyms, ensure_key, load_key
from stages.anonymize import __main__ as command
from stages.anonymize.__main__ import main
from stages.anonymize.anonymize import Folders, anonymize
from stages.anonymize.balance import Progress, balance, check_folders
from stages.anonymize.proof import failing, known_names
from stages.anonymize.records import choose_keys
from tests.planted_records import coded_record
from tests.planted_workers import no_workers_in

NO_SEARCH = {"text_min_image": 4096}
AT, SIDE = (40, 60), 66
"""Where the planted code lies, and how large it is without its paper."""

no_workers = no_workers_in(command)


def coded(tint: int) -> RGB:
    """A field with a code that is too blurred to be read; ``tint`` tells one from another."""
    code = zxingcpp.create_barcode("A24-1183", zxingcpp.BarcodeFormat.QRCode).to_image(scale=1, add_quiet_zones=True)
    paper = np.pad(np.kron(np.array(code), np.ones((2, 2), np.uint8)), 12, constant_values=255)
    picture = stained()
    picture[:4, :4] = tint
    h, w = paper.shape
    picture[AT[1] : AT[1] + h, AT[0] : AT[0] + w] = cv2.GaussianBlur(paper, (0, 0), 2.5)[..., None]
    return picture


def over_the_code() -> Box:
    return (AT[0] - 8, AT[1] - 8, 98, 98)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    (root / "raw/images").mkdir(parents=True)
    (root / "review").mkdir()
    (root / "raw/collected.json").write_text(json.dumps({"sources": {"clinic": {"kind": "fields-plain"}}}))
    write_params(root, **NO_SEARCH)
    monkeypatch.chdir(root)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "pseudonym.key"))
    ensure_key()
    return root


def fill(root: Path, images: Mapping[str, RGB | bytes], labels: Mapping[str, str] | None = None) -> None:
    records = []
    for name, picture in images.items():
        content = picture if isinstance(picture, bytes) else png_bytes(picture)
        (root / "raw/images" / f"{name}.png").write_bytes(content)
        label = (labels or {}).get(name, "HSIL")
        records.append(
            Record(
                image_id=name,
                file=f"{name}.png",
                sha256=hashlib.sha256(content).hexdigest(),
                width=320,
                height=240,
                mpp=0.5,
                patient="Mueller, Anna",
                slide="slide 1",
                source="clinic",
                organ="cervix",
                stain="papanicolaou",
                role="field",
                annotations=(Annotation(bbox=(200, 20, 30, 30), label=label, annotator="Dr. Berta"),),
            )
        )
    write_manifest(root / "raw", records)


def run(root: Path, params: AnonymizeParams = PARAMS) -> dict[str, Any]:
    """The stage in this process, so that the text reader is loaded once for all tests."""
    for name in ("clean", "quarantine"):
        stale = root / name
        if stale.exists():
            stale.rename(root / f"{name}-{len(list(root.iterdir()))}")
        stale.mkdir()
    records = read_manifest(root / "raw")
    folders = Folders(root / "raw", root / "clean", root / "quarantine")
    with ThreadPoolExecutor(1) as pool:
        held = latest(read_decisions(root / "review"))
        return anonymize(records, folders, params, choose_keys(root / "raw", records), pool, held)


def name_of(raw_id: str) -> str:
    return Pseudonyms(load_key()).of("file", raw_id)


def decide(root: Path, raw_id: str, word: Word, *regions: Box, reason: Stated | None = None) -> None:
    usual: dict[Word, Stated] = {"release": "no_identifier", "redact": "identifier_painted", "reject": "not_usable"}
    made = Decision(
        image=name_of(raw_id),
        decision=word,
        regions=regions,
        reviewer="b.m-2",
        time="2026-03-01T10:00:00Z",
        reason=reason or usual[word],
    )
    record(root / "review", made)


def held(root: Path) -> dict[str, Held]:
    return {row.image_id: row for row in read_quarantine(root / "quarantine")}


def clean_pixels(root: Path, raw_id: str) -> RGB:
    (item,) = [item for item in read_manifest(root / "clean") if item.image_id == name_of(raw_id)]
    return read_image(root / "clean/images" / item.file)


def computed(root: Path) -> int:
    return sum(path.is_file() for path in (root / ".cytoline/memo/results").rglob("*"))


def test_a_code_that_nobody_reads_goes_each_of_the_three_ways(here: Path) -> None:
    fill(here, {"a": coded(1), "b": coded(2), "c": coded(3), "d": coded(4), "plain": stained()})
    first = run(here)
    assert first["images"] == {"in": 5, "untouched": 1, "redacted": 0, "quarantined": 4, "rejected": 0}
    assert {row.reason for row in held(here).values()} == {"barcode_like"}
    ((left, top), _, (right, bottom), _) = held(here)[name_of("a")].regions[0]
    assert left <= AT[0] + 24 < AT[0] + 24 + SIDE // 2 <= right
    assert top <= AT[1] + 24 < AT[1] + 24 + SIDE // 2 <= bottom

    before = computed(here)
    decide(here, "a", "release")
    decide(here, "b", "redact", over_the_code())
    decide(here, "c", "reject")
    decide(here, "d", "redact", (250, 200, 20, 20))  # not where the code is
    second = run(here)
    assert second["images"] == {"in": 5, "untouched": 2, "redacted": 1, "quarantined": 1, "rejected": 1}
    assert second["released_by_a_reviewer"] == 2
    assert computed(here) == before + 3, "only what was decided is worked on again, and not what was rejected"
    assert np.array_equal(clean_pixels(here, "a"), coded(1))
    x, y, w, h = over_the_code()
    painted = clean_pixels(here, "b")
    assert np.ptp(painted[y : y + h, x : x + w].reshape(-1, 3), axis=0).max() == 0
    assert np.array_equal(painted[:, x + w + 10 :], coded(2)[:, x + w + 10 :])
    assert set(held(here)) == {name_of("d")}
    assert [path.stem for path in (here / "quarantine/images").iterdir()] == [name_of("d")]
    everywhere = [path.name for folder in ("clean", "quarantine") for path in (here / folder).rglob("*")]
    assert not [name for name in everywhere if name.startswith(name_of("c"))]

    by_image: dict[str, list[Any]] = {}
    for event in read_audit(here / "clean" / AUDIT)[1:-1]:
        by_image.setdefault(event.image, []).append(event)  # type: ignore[union-attr]
    kinds = {raw_id: [type(event) for event in by_image[name_of(raw_id)]] for raw_id in "abcd"}
    assert kinds == {"a": [Passed, Released], "b": [Passed, Released], "c": [Rejected], "d": [KeptBack]}
    (rejected,) = by_image[name_of("c")]
    assert (rejected.reviewer, rejected.reason, rejected.time) == ("b.m-2", "not_usable", "2026-03-01T10:00:00Z")
    assert [event.decision for raw_id in "ab" for event in by_image[name_of(raw_id)][1:]] == ["release", "redact"]

    decide(here, "d", "release")
    decide(here, "a", "reject", reason="wrong_image")
    third = run(here)
    assert third["images"] == {"in": 5, "untouched": 2, "redacted": 1, "quarantined": 0, "rejected": 2}
    assert held(here) == {}


def test_weak_hits_wait_for_a_person_where_params_say_so(here: Path) -> None:
    fill(here, {"a": labelled("AB1", (60, 40), 90), "plain": stained()})  # taller than any line of writing
    assert run(here)["images"]["quarantined"] == 0
    asked = PARAMS.model_copy(update={"review": True})
    assert run(here, asked)["quarantine_reasons"] == {"doubtful_text": 1}
    (region,) = held(here)[name_of("a")].regions
    assert min(x for x, _ in region) < 65 < 200 < max(x for x, _ in region)
    decide(here, "a", "redact", (150, 40, 20, 20))
    assert run(here, asked)["quarantine_reasons"] == {"doubtful_text": 1}, "the letters are still there"
    decide(here, "a", "release")
    assert run(here, asked)["images"]["untouched"] == 2
    decide(here, "a", "redact", (45, 45, 195, 105))
    assert run(here, asked)["images"] == {"in": 2, "untouched": 1, "redacted": 1, "quarantined": 0, "rejected": 0}
    assert np.ptp(clean_pixels(here, "a")[45:150, 45:240].reshape(-1, 3), axis=0).max() == 0


def test_writing_is_still_painted_over_in_what_is_released(here: Path) -> None:
    both = coded(1)
    both[180:220] = labelled("MRN 4471230", (150, 190), 18)[180:220]
    fill(here, {"a": both})
    run(here)
    decide(here, "a", "release")
    summary = run(here)
    assert (summary["images"]["redacted"], summary["texts_painted_over"]) == (1, 1)
    clean = clean_pixels(here, "a")
    assert clean[185:215, 150:].min() > 120
    assert np.array_equal(clean[: AT[1] + 98], both[: AT[1] + 98])


BLIND = PARAMS.model_copy(update=NO_SEARCH)


@pytest.mark.parametrize("word", ["release", "redact"])
def test_nobody_can_release_what_cannot_be_read(here: Path, word: Word) -> None:
    fill(here, {"broken": png_bytes(stained())[:2000], "other_size": png_bytes(stained(300, 200))})
    regions = ((0, 0, 320, 240),) if word == "redact" else ()
    for raw_id in ("broken", "other_size"):
        decide(here, raw_id, word, *regions)
    assert run(here, BLIND)["quarantine_reasons"] == {"size_differs": 1, "unreadable": 1}
    for raw_id in ("broken", "other_size"):
        decide(here, raw_id, "reject")
    assert run(here, BLIND)["images"] == {"in": 2, "untouched": 0, "redacted": 0, "quarantined": 0, "rejected": 2}


def test_decisions_about_other_archives_are_counted_and_left_alone(here: Path) -> None:
    fill(here, {"a": stained()})
    decide(here, "elsewhere", "reject")
    decide(here, "elsewhere", "release")
    decide(here, "else", "reject")
    summary = run(here, BLIND)
    assert (summary["decisions_unused"], summary["images"]["rejected"]) == (2, 0)


# What passed and then fails by other means ----------------------------------------------------------------------


def test_a_name_in_a_record_fails_the_run_after_all_was_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(here, {"a": stained(), "b": coded(1), "c": coded(2)}, labels={"b": "mueller, anna"})
    folders = here / "raw", here / "clean", here / "quarantine", here / "review"
    with pytest.raises(typer.Exit) as caught:
        main(*folders)
    assert caught.value.exit_code == 1
    said = capsys.readouterr().err
    assert "`cytoline review`" in said
    assert "mueller" not in said.casefold()
    assert {(name, row.reason) for name, row in held(here).items()} == {(name_of("b"), "check_failed")}
    assert {item.image_id for item in read_manifest(here / "clean")} == {name_of("a"), name_of("c")}
    summary = json.loads((here / "clean/summary.json").read_text())
    assert summary["failed_verification"] == summary["images"]["quarantined"] == 1
    assert read_audit(here / "clean" / AUDIT)
    decide(here, "b", "release")  # an opinion does not make the name go away
    with pytest.raises(typer.Exit):
        main(*folders)
    decide(here, "b", "reject")
    main(*folders)
    assert json.loads((here / "clean/summary.json").read_text())["images"]["rejected"] == 1


def clean_file(folder: Path, name: str, content: bytes) -> tuple[Path, Record]:
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.png"
    path.write_bytes(content)
    return path, coded_record(path.stem, 320, 240)


def test_the_last_check_finds_what_lies_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = png_bytes(stained(64, 64))
    files = dict(
        [
            clean_file(tmp_path, "good", good),
            clean_file(tmp_path, "name", good + "Mueller, Anna".encode("utf-16-le")),
            clean_file(tmp_path, "words", good[:33] + text_chunk(b"Comment\0nothing that is known") + good[33:]),
        ]
    )
    names = known_names([item.model_copy(update={"patient": "MUELLER, ANNA"}) for item in files.values()])
    by_words = {path.stem for path in files if b"Comment" in path.read_bytes()}
    by_name = {path.stem for path in files if path.read_bytes().endswith(b"a\0")}
    with ThreadPoolExecutor(1) as pool:
        found = failing(files, names, pool)
        assert found == (by_name | by_words if exiftool.available() else by_name)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert failing(files, names, pool) == by_name, "without exiftool"


def text_chunk(body: bytes) -> bytes:
    import struct
    import zlib

    return struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))


@pytest.mark.parametrize("short", ["12345", "  Li  ", "", "A-1"])
def test_names_too_short_to_be_told_from_chance_are_not_searched_for(short: str, tmp_path: Path) -> None:
    _, item = clean_file(tmp_path, "a", b"")
    assert not known_names([item.model_copy(update={"patient": short, "slide": short})])


def test_pseudonyms_themselves_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patient number of six digits stands in some pseudonym sooner or later."""
    monkeypatch.setenv("PATH", str(tmp_path))
    path, item = clean_file(tmp_path, "a", b"nothing")
    raw = item.model_copy(update={"patient": item.image_id[3:10], "slide": "0" * 20})
    with ThreadPoolExecutor(1) as pool:
        assert failing({path: item}, known_names([raw]), pool) == set()
        named = item.model_copy(update={"file": f"{raw.patient}.png"})
        assert failing({path: named}, known_names([raw]), pool) == {item.image_id}


# Conservation ---------------------------------------------------------------------------------------------------


def test_an_image_that_is_lost_or_counted_twice_is_a_defect(tmp_path: Path) -> None:
    codes = [f"{number:032x}" for number in range(3)]
    done = Progress(held=[Held(image_id=code, reason="unreadable") for code in codes])
    assert balance(codes, done, 0)["images"]["quarantined"] == 3
    for came_in in (codes[:2], [*codes, "f" * 32], [*codes[:2], "f" * 32]):
        with pytest.raises(RuntimeError, match="came in"):
            balance(came_in, done, 0)
    twice = Rejected(image=codes[0], reviewer="ab", reason="not_usable", time="2026-03-01T10:00:00Z")
    with pytest.raises(RuntimeError, match="came in"):
        balance(codes, Progress(held=done.held, rejected=[twice]), 0)
    for folder in ("clean", "quarantine"):
        (tmp_path / folder / "images").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="quarantine"):
        check_folders(tmp_path / "clean", tmp_path / "quarantine", done)
    (tmp_path / "clean/images/stray.png").write_bytes(b"")
    with pytest.raises(RuntimeError, match="clean"):
        check_folders(tmp_path / "clean", tmp_path / "quarantine", Progress())
