"""The parts of an erasure: what is recognised, what is taken out of tables, what the memo store and git keep."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.audit.standin import encoded, fingerprint, made_anew
from cytoline.audit.erasure.execute import forget_in_crosswalk
from cytoline.audit.erasure.files import count_links, judge_files, work_files
from cytoline.audit.erasure.history import replacements, search_history
from cytoline.audit.erasure.incoming import divide
from cytoline.audit.erasure.journal import Journal
from cytoline.audit.erasure.marks import Marks
from cytoline.audit.erasure.memory import memo_to_drop
from cytoline.audit.erasure.packing import unreadable
from cytoline.audit.erasure.person import Person, refuse_phantom
from cytoline.audit.erasure.plan import make_plan
from cytoline.audit.erasure.prune import pruned, pruned_coco, pruned_table
from cytoline.audit.erasure.stores import Store, Stores, folder_object
from cytoline.audit.erasure.tracked import Places, redact, rows_with, tracking_places
from cytoline.crosswalk import Crosswalk
from cytoline.deid.review.chain import chained, unchained
from cytoline.errors import CytolineError
from cytoline.memo import Job, Memo
from cytoline.pseudonyms import CROSSWALK_VARIABLE, Pseudonyms, synthetic_key
from cytoline.sources.params import CollectParams
from cytoline.splits import SplitRow

HERS, OTHERS = "a" * 32, "b" * 32
PICTURE = bytes(range(256)) * 4
SHA = hashlib.sha256(PICTURE).hexdigest()
MARKS = Marks(frozenset({HERS}), frozenset({SHA}), frozenset({"Müller & Söhne", "12"}), frozenset({OTHERS}))


def made_of(colour: str) -> bytes:
    """A small picture."""
    return encoded(Image.new("RGB", (32, 32), colour), "PNG")


def packed(content: bytes) -> bytes:
    """A tar with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("x.png")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(content: bytes) -> bytes:
    """A deflated ZIP with one file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("x.png"), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (PICTURE, "whole file"),
        (packed(PICTURE), "in a tar"),
        (b'<img src="data:image/png;base64,' + base64.b64encode(PICTURE) + b'">', "in a page"),
        (b'{"patient": "' + HERS.encode() + b'"}', "code"),
        (f"{HERS}-a0001.png".encode(), "code"),
        (f"{HERS.upper()}".encode(), "code"),
        (b'{"name": "M\\u00fcller & S\\u00f6hne"}', "name"),
        (b"M%C3%BCller%20%26%20S%C3%B6hne", "name"),
        ("Mu\u0308ller & So\u0308hne".encode(), "name"),
        (b"SQLite format 3\0" + "\0Müller & Söhne\0".encode(), "name"),
        (f"x1{HERS}b".encode(), "code"),  # what stands before it in a database may be a digit
        ("Müller & Söhnes".encode(), None),
        (b"12", None),  # too short to prove anything
        (gzip.compress(HERS.encode(), mtime=0), "packed"),
        (gzip.compress(OTHERS.encode(), mtime=0) + gzip.compress(HERS.encode(), mtime=0), "packed"),
        (zipped(gzip.compress(PICTURE, mtime=0)), "packed"),
        (packed(zipped(PICTURE)), "packed"),
        (zipped(OTHERS.encode()), None),
        (OTHERS.encode(), None),
        (packed(PICTURE)[:700], None),  # a tar that was cut off is no error
    ],
)
def test_a_person_is_recognised(content: bytes, how: str | None) -> None:
    assert MARKS.found_in(content, names=True) == how


def test_a_file_that_is_also_another_patients_is_not_hers() -> None:
    marks = Marks(digests=frozenset({SHA}), others=frozenset({SHA}))
    assert marks.found_in(PICTURE) is None
    assert marks.someone_elses(PICTURE)


def test_a_chain_is_closed_over_the_gap(tmp_path: Path) -> None:
    rows = [
        SplitRow(image_id=str(n), patient=who, group=who, split="train") for n, who in enumerate([OTHERS, HERS, OTHERS])
    ]
    after = pruned("audit.jsonl", chained(rows).encode(), MARKS.coded)
    assert after is not None
    (tmp_path / "audit.jsonl").write_bytes(after)
    kept = unchained(tmp_path / "audit.jsonl", SplitRow.model_validate_json, "")
    assert [row.image_id for row in kept] == ["0", "2"]


def test_plain_lines_of_others_keep_their_bytes() -> None:
    line = f'{{"b" : "{OTHERS}",  "a":1}}\n'
    assert pruned("x.jsonl", f'{line}{{"a":"{HERS}"}}\n{line}'.encode(), MARKS.coded) == (line * 2).encode()


def test_documents_lose_her_rows_at_any_depth() -> None:
    document = {"fields": [HERS, OTHERS], "more": [{"rows": [{"id": HERS}, {"id": OTHERS}]}], HERS: 1}
    after = pruned("x.json", json.dumps(document).encode(), MARKS.coded)
    assert after is not None
    assert json.loads(after) == {"fields": [OTHERS], "more": [{"rows": [{"id": OTHERS}]}]}


@pytest.mark.parametrize(("name", "content"), [("x.json", b"{"), ("x.jsonl", b"\xff\n"), ("x.png", b"")])
def test_what_has_no_rows_cannot_be_pruned(name: str, content: bytes) -> None:
    assert pruned(name, content, lambda row: False) is None or name == "x.jsonl"


def test_annotations_lose_their_image() -> None:
    coco = {
        "images": [{"id": 1, "file_name": "hers/1.png"}, {"id": "2", "file_name": "x/1.png"}],
        "annotations": [{"image_id": "1"}, {"image_id": 2}],
    }
    after = json.loads(pruned_coco(json.dumps(coco).encode(), lambda name: name.startswith("hers")))
    assert after == {"images": [coco["images"][1]], "annotations": [{"image_id": 2}]}


def test_a_table_keeps_the_lines_of_others() -> None:
    table = 'file;note;patient\r\n1.png;"two\nlines";her\r\n2.png;"two\nmore\u2028";him\r\n'
    after = pruned_table(table.encode(), lambda row: row["patient"] == "her")
    assert after.decode() == 'file;note;patient\r\n2.png;"two\nmore\u2028";him\r\n'


def test_a_table_that_begins_with_an_empty_line_loses_its_rows_too() -> None:
    table = "\r\nfile;note;patient\r\n1.png;x;her\r\n2.png;x;him\r\n"
    after = pruned_table(table.encode(), lambda row: row.get("patient") == "her")
    assert after.decode() == "\r\nfile;note;patient\r\n2.png;x;him\r\n"


def test_the_memo_store_keeps_only_what_is_surely_somebody_elses(tmp_path: Path) -> None:
    pictures = {who: made_of(colour) for who, colour in (("hers", "red"), ("his", "blue"))}
    for who, content in pictures.items():
        (tmp_path / who).write_bytes(content)
    store = Memo(tmp_path / "memo")
    for function in (made_anew, fingerprint):
        list(store.map(function, [Job(who, (tmp_path / who,)) for who in pictures], None, description="x"))
    hers, his = (hashlib.sha256(content).hexdigest() for content in pictures.values())
    drop, kept = memo_to_drop(tmp_path / "memo", Marks(digests=frozenset({hers}), others=frozenset({his})))
    for path in drop:
        path.unlink()
    left = {path.read_bytes() for path in (tmp_path / "memo" / "blobs").glob("*/*")}
    assert left == {pictures["his"], b"{}"}  # the outcome that both share stays with his picture; fingerprints are gone
    assert kept == 1


def test_a_second_name_of_a_file_is_noticed(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(PICTURE)
    second.hardlink_to(first)
    assert (count_links([first], MARKS), count_links([first, second], MARKS)) == (1, 0)


def test_a_database_keeps_nothing_even_in_free_pages(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE "odd ""name" (key TEXT, "the value" TEXT)')
        rows = [(str(n), f"patient {HERS}" if n % 2 else OTHERS) for n in range(500)]
        connection.executemany('INSERT INTO "odd ""name" VALUES (?, ?)', rows)
        connection.execute('DELETE FROM "odd ""name" WHERE key = \'1\'')
        connection.commit()
    assert rows_with(path, MARKS) == 1
    assert redact(path, MARKS) == 1
    assert HERS.encode() not in path.read_bytes()
    assert OTHERS.encode() in path.read_bytes()


def test_git_is_searched_and_the_list_rewrites_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run([*git, "init", "-q"], check=True)
    for number, content in enumerate((HERS.encode(), PICTURE, b"nothing")):
        Path("data.bin").write_bytes(content)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", str(number)], check=True)
    found = search_history(MARKS)
    assert {path: dict(counts) for path, counts in found.files.items()} == {"data.bin": {"code": 1, "whole file": 1}}
    assert found.originals == ["data.bin"]
    assert f"{HERS}==>erased\n" in (text := replacements(MARKS, {"c" * 32 + ".dir": "d" * 32 + ".dir"}))
    assert "c" * 32 + ".dir==>" + "d" * 32 + ".dir\n" in text


def test_the_crosswalk_forgets_her_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "crosswalk.json"
    monkeypatch.setenv(CROSSWALK_VARIABLE, str(path))
    drawn = Crosswalk.load(path)
    hers, his = drawn.of("patient", "her"), drawn.of("patient", "him")
    slide = drawn.of("slide", "her\0slide 1")
    drawn.of("days", "her")
    drawn.save()

    class Planned:
        """What the step needs of a plan."""

        person = Person(hers, Crosswalk.load(path), raw={"her"})
        marks = Marks(frozenset({hers, slide}))
        journal = Journal("0" * 32)

    monkeypatch.chdir(tmp_path)
    forget_in_crosswalk(Planned())  # type: ignore[arg-type]
    assert json.loads(path.read_text())["given"] == {"patient": {"him": his}, "slide": {}, "days": {}}
    assert path.stat().st_mode & 0o077 == 0


def test_a_phantom_cannot_be_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/incoming/phantom").mkdir(parents=True)
    Path("data/incoming/phantom/source.yaml").write_text("kind: phantom\n")
    code = Pseudonyms(synthetic_key()).of("patient", "P1")
    with pytest.raises(CytolineError, match="phantom"):
        refuse_phantom(code, [{"source": "phantom", "patient": "P1"}])
    refuse_phantom(code, [{"source": "clinic", "patient": "P1"}])
    Path("data/clean").mkdir()
    Path("data/clean/manifest.jsonl").write_text(json.dumps({"source": "phantom", "patient": code}) + "\n")
    with pytest.raises(CytolineError, match="phantom"):  # at once: this is no DVC repository, and nobody asked for one
        make_plan(code, withdraw=False)


def test_a_picture_of_two_people_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose rows name two patients cannot be half erased."""
    monkeypatch.chdir(tmp_path)
    folder = Path("ward")
    folder.mkdir()
    (folder / "source.yaml").write_text(
        "{kind: fields-csv-points, organ: cervix, stain: papanicolaou, microns_per_pixel: unknown, license: none,"
        " legal_basis: consent, patient_id: 'column:patient', box_px: 9, annotations: cells.csv}"
    )
    (folder / "1.png").write_bytes(made_of("red"))
    (folder / "cells.csv").write_text("file,x,y,label,patient\n1.png,9,9,NILM,him\n1.png,9,9,NILM,her\n")
    params = CollectParams(sources=["ward"], max_megapixels=1, max_file_megabytes=1, max_annotation_megabytes=1)
    Path(".cytoline").mkdir()
    with pytest.raises(CytolineError, match="of other people"):
        divide("ward", folder, lambda raw: raw == "her", Memo(tmp_path / "memo"), params)


@pytest.mark.parametrize("content", [b"not json", b'[{"relpath": 1}]', b"{}" * 9, b"[" * 100_000])
def test_a_forged_listing_is_left_out(tmp_path: Path, content: bytes) -> None:
    from dvc.fs import LocalFileSystem

    md5, good = folder_object({"a": "0" * 32})
    store = Store("cache", LocalFileSystem(), str(tmp_path))
    store.add(f"files/md5/{md5[:2]}/{md5[2:]}", good)
    store.add(f"files/md5/ff/{'f' * 30}.dir", content)
    assert Stores([store]).listings() == {md5: {"a": "0" * 32}}


def test_a_damaged_journal_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal("e" * 32, codes=[HERS])
    journal.save()
    assert Journal.load("e" * 32) == journal
    Path(f".cytoline/erasure/{'e' * 32}.json").write_text('{"reference": 1, "what": 2}')
    with pytest.raises(CytolineError, match="journal"):
        Journal.load("e" * 32)


def test_copies_and_annotations_of_her_file_are_hers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each file counts as a patient, a byte copy under another name shows the same person."""
    monkeypatch.chdir(tmp_path)
    folder = Path("lab")
    folder.mkdir()
    (folder / "source.yaml").write_text(
        "{kind: fields-voc, organ: cervix, stain: papanicolaou, microns_per_pixel: unknown, license: none,"
        " legal_basis: consent, patient_id: each-file}"
    )
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        (folder / f"{name}.png").write_bytes(made_of(colour))
        (folder / f"{name}.xml").write_text(f"<annotation><filename>{name}.png</filename></annotation>")
    params = CollectParams(sources=["lab"], max_megapixels=1, max_file_megabytes=1, max_annotation_megabytes=1)
    Path(".cytoline").mkdir()
    found = divide("lab", folder, lambda raw: raw == "lab/a.png", Memo(tmp_path / "memo"), params)
    assert found is not None
    assert found.mine == {"a.png", "a.xml", "b.png", "b.xml"}
    assert (found.left, found.rewritten) == (1, {})


def test_another_projects_folders_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copied MLflow database still names the folders of the project that it was copied from."""
    import sqlite3
    from contextlib import closing

    theirs, ours = tmp_path / "theirs" / "mlruns", tmp_path / "ours"
    for folder in (theirs, ours / "mlruns", ours / "runs", ours / ".git"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(ours)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    named = [str(theirs / "0"), theirs.as_uri(), str(ours / "runs"), str(ours / ".git"), str(ours), "/no/such/place"]
    (theirs / "0").mkdir()
    with closing(sqlite3.connect("mlflow.db")) as connection:
        connection.execute("CREATE TABLE runs (artifact_uri TEXT)")
        connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
        connection.executemany("INSERT INTO runs VALUES (?)", [(one,) for one in named])
        connection.commit()
    alone, agreed_to = tracking_places(), tracking_places([tmp_path / "theirs"])
    assert (alone.folders, alone.outside) == ((ours / "mlruns", ours / "runs"), (theirs,))
    assert (agreed_to.folders, agreed_to.outside) == ((ours / "mlruns", ours / "runs", theirs), ())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/theirs/mlflow.db")
    (tmp_path / "theirs" / "mlflow.db").write_bytes(b"")
    assert tracking_places().database is None
    assert tmp_path / "theirs" / "mlflow.db" in tracking_places().outside


@pytest.mark.parametrize(
    "content", [b"7z\xbc\xaf\x27\x1c...", gzip.compress(PICTURE, mtime=0)[:-9], zipped(PICTURE)[:99]]
)
def test_what_cannot_be_read_into_is_known(content: bytes) -> None:
    assert unreadable(content)
    assert unreadable(packed(content))
    assert not unreadable(packed(zipped(PICTURE)))


def test_the_index_and_lists_of_seals_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where nothing in them is known as hers: an MD5 of a raw file is not looked for."""
    monkeypatch.chdir(tmp_path)
    names = {".cytoline/lineage.sqlite", ".cytoline/lineage.sqlite-wal", ".cytoline/sealed/ab.jsonl"}
    for name in (*names, ".cytoline/other"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("nothing")
    found = judge_files(Person(HERS, Pseudonyms(synthetic_key())), MARKS, Stores([]), set(), Places(None))
    assert {change.path.as_posix() for change in found.by_place[".cytoline"]} == names


def test_no_folder_of_the_work_tree_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"notes/__pycache__/n.txt", "notes/.venv/x", ".mypy_cache/y", "notes/mlflow.db.txt"}
    for name in (*names, "mlflow.db", ".git/z"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(HERS)
    assert {path.as_posix() for path in work_files(Stores([]), Places(Path("mlflow.db")))} == names
