"""cytoline add: understood and shown first, then kept as a whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from cytoline.add import add
from cytoline.errors import CytolineError
from cytoline.registration import all_or_nothing, list_source, track_with_dvc
from cytoline.sources.schema import load_source
from tests.planted_sources import SHARED, bytes_below, coco, picture, project, voc
from tests.planted_unpacked import dicom, frame, geojson, shape, slide, tissue

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(add)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose current source is the phantom; the key goes beside it."""
    root = project(tmp_path / "project", ["phantom"])
    monkeypatch.chdir(root)
    monkeypatch.setenv("CYTOLINE_KEY_FILE", str(tmp_path / "keys" / "pseudonym.key"))
    return root


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    """A folder as someone may hand it over: two good fields, a broken one, papers, a link to somewhere else."""
    folder = tmp_path / "delivery"
    for seed, stem in enumerate(["a", "b"]):
        picture(folder / "JPEGImages" / f"{stem}.png", seed)
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"{stem}.xml").write_text(voc([("NILM", 1, 1, 20, 20), ("ASC-H", 5, 5, 5, 9)]))
    (folder / "JPEGImages" / "c.png").write_bytes(b"")
    (folder / "Annotations" / "c.xml").write_text(voc([]))
    (folder / "LICENSE.txt").write_text("MIT License\n\nCopyright ...")
    (folder / "Thumbs.db").write_text("x")
    (folder / "JPEGImages" / "secret.png").symlink_to(picture(tmp_path / "secret.png", 7))
    return folder


def call(*arguments: object) -> str:
    """Run the command; errors of the user come out as they are."""
    result = CliRunner().invoke(app, [str(item) for item in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)


def test_what_matters_is_copied_and_described(place: Path, delivery: Path) -> None:
    said = call(delivery, "--name", "new", "--stain", "papanicolaou", "--mpp", "0.25")
    target = Path("data/incoming/new")
    assert sorted(bytes_below(target)) == [
        "Annotations/a.xml",
        "Annotations/b.xml",
        "Annotations/c.xml",
        "JPEGImages/a.png",
        "JPEGImages/b.png",
        "JPEGImages/c.png",
        "LICENSE.txt",
        "source.yaml",
    ]
    about = load_source(target)
    assert (about.kind, about.organ, about.stain, about.mpp, about.license, about.patient_id) == (
        "fields-voc",
        "cervix",
        "papanicolaou",
        0.25,
        "MIT",
        "each-file",
    )
    assert "# " in (target / "source.yaml").read_text()
    for words in ("NILM", "link that leads out", "empty file", "box less than a pixel", "legal_basis", "40 x 30"):
        assert words in said
    assert "secret" not in said
    assert "c.png" not in said
    text = Path("params.yaml").read_text()
    assert yaml.safe_load(text)["collect"]["sources"] == ["phantom", "new"]
    assert "# what is read" in text
    assert "# which classes" in text


def test_refused_files_are_named_when_asked(place: Path, delivery: Path) -> None:
    said = call(delivery, "--name", "new", "--list-refused")
    assert "'JPEGImages/c.png': file empty" in said
    assert "'JPEGImages/secret.png': file link_out" in said


def test_a_name_cannot_drive_the_terminal(place: Path, delivery: Path) -> None:
    (delivery / "JPEGImages" / "\x1b[2Jx\n.png").write_bytes(b"")
    said = call(delivery, "--name", "new", "--list-refused", "--yes")
    assert "\x1b[2J" not in said
    assert "'JPEGImages/\\x1b[2Jx\\n.png': file no_annotation" in said


def test_with_nobody_to_ask_most_images_must_be_usable(place: Path, delivery: Path) -> None:
    for name in ("d", "e", "f"):
        (delivery / "JPEGImages" / f"{name}.png").write_bytes(b"")
    with pytest.raises(CytolineError, match="5 of 7 images would be left out"):
        call(delivery, "--name", "new")
    assert not Path("data/incoming/new").exists()
    call(delivery, "--name", "new", "--yes")


def test_yolo_labels_do_not_pass_for_fields_without_cells(place: Path, tmp_path: Path) -> None:
    picture(tmp_path / "yolo" / "a.png")
    (tmp_path / "yolo" / "a.txt").write_text("0 0.5 0.5 0.1 0.25\n")
    with pytest.raises(CytolineError, match="look like YOLO labels"):
        call(tmp_path / "yolo", "--name", "new")
    assert "other_file" in call(tmp_path / "yolo", "--name", "new", "--kind", "fields-plain", "--list-refused")
    (tmp_path / "yolo" / "a.txt").write_text("seen by two readers\n")
    call(tmp_path / "yolo", "--name", "newer")


@pytest.mark.parametrize(
    "label",
    [
        "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2",
        "3 0.5 0.5 0.1 0.25 0.913",
        "\ufeff\r\n0 5e-1 .5 1. 0\r\n",
        "0" + " 0.123456" * 100,
    ],
)
def test_polygons_and_confidences_are_yolo_labels_too(place: Path, tmp_path: Path, label: str) -> None:
    picture(tmp_path / "yolo" / "a.png")
    (tmp_path / "yolo" / "a.txt").write_text(label, encoding="utf-8")
    with pytest.raises(CytolineError, match="look like YOLO labels"):
        call(tmp_path / "yolo", "--name", "new")


def test_empty_yolo_labels_do_not_hide_the_others(place: Path, tmp_path: Path) -> None:
    for number in range(60):
        picture(tmp_path / "yolo" / f"{number:02}.png", number)
        (tmp_path / "yolo" / f"{number:02}.txt").write_text("0 0.5 0.5 0.1 0.25\n" if number == 59 else "\n")
    with pytest.raises(CytolineError, match="look like YOLO labels"):
        call(tmp_path / "yolo", "--name", "new")


def test_one_broken_json_does_not_pass_for_fields_without_cells(place: Path, tmp_path: Path) -> None:
    picture(tmp_path / "s" / "a.png")
    for content, said in (
        ('{"images": [{"id": 1, "file_na', "'a.json' is not valid JSON"),
        ('{"images": [], "annotations": [{}], "annotations": [], "categories": []}', "one name twice"),
    ):
        (tmp_path / "s" / "a.json").write_text(content)
        with pytest.raises(CytolineError) as caught:
            call(tmp_path / "s", "--name", "new")
        assert said in caught.value.cause
        assert "--kind" in caught.value.remedy
    call(tmp_path / "s", "--name", "new", "--kind", "fields-plain")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ('{"images": [], "annotations": [], "categories": []}', "'val.json' looks like annotations"),
        ('[{"image": "a.png", "cells": []}]', "'val.json' looks like annotations"),
        ('{"images": [', "'val.json' is not valid JSON at line 1, and it is one of 2 JSON files"),
    ],
)
def test_one_of_several_json_files_must_be_named(place: Path, tmp_path: Path, other: str, said: str) -> None:
    folder = tmp_path / "s"
    picture(folder / "a.png")
    (folder / "val.json").write_text(other)
    (folder / "z_settings.json").write_text("{}")
    with pytest.raises(CytolineError) as caught:
        call(folder, "--name", "new")
    assert said in caught.value.cause
    assert "--annotations FILE" in caught.value.remedy
    assert "--kind fields-plain" in caught.value.remedy
    coco(folder, [{"id": 1, "file_name": "a.png"}], [], "z_settings.json")
    call(folder, "--name", "named", "--annotations", "z_settings.json")
    assert load_source(Path("data/incoming/named")).kind == "fields-coco"
    call(folder, "--name", "plain", "--kind", "fields-plain")


def test_json_files_of_something_else_are_no_harm(place: Path, tmp_path: Path) -> None:
    picture(tmp_path / "s" / "a.png")
    for number, content in enumerate(['{"gain": 2, "images": 7}', '["a", "b"]', "3"]):
        (tmp_path / "s" / f"{number}.json").write_text(content)
        if number != 1:
            call(tmp_path / "s", "--name", f"new{number}")
            assert load_source(Path(f"data/incoming/new{number}")).kind == "fields-plain"


def test_a_coco_file_cannot_drive_the_terminal(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    picture(folder / "a.png")
    box = {"image_id": 1, "category_id": "\x1b[3J", "bbox": [1, 1, 9, 9]}
    coco(folder, [{"id": 1, "file_name": "a.png"}], [{"id": "\x1b[2J", "image_id": 1, "bbox": None}, box])
    shown = CliRunner().invoke(app, [str(folder), "--name", "new", "--list-refused"])
    assert "'a.png': box not_a_box 'annotation \\x1b[2J'" in shown.output
    assert "\\x1b[3J'" in shown.output
    assert "\x1b[2J" not in shown.output
    assert "\x1b[3J" not in shown.output


def test_another_taxonomy_starts_a_new_list_of_sources(place: Path, delivery: Path) -> None:
    said = call(delivery, "--name", "new", "--taxonomy", "blood", "--alias", "NILM=RBC", "--alias", "ASC-H=")
    loaded = yaml.safe_load(Path("params.yaml").read_text())
    assert (loaded["taxonomy"], loaded["collect"]["sources"]) == ("blood", ["new"])
    assert "taxonomy is now blood" in said
    assert load_source(Path("data/incoming/new")).label_aliases == {"NILM": "RBC", "ASC-H": None}


def test_linking_shares_the_bytes(place: Path, delivery: Path) -> None:
    call(delivery, "--name", "new", "--link", "--only")
    assert Path("data/incoming/new/JPEGImages/a.png").samefile(delivery / "JPEGImages" / "a.png")
    assert yaml.safe_load(Path("params.yaml").read_text())["collect"]["sources"] == ["new"]


def test_nothing_is_kept_where_it_cannot_be_used(place: Path, delivery: Path, tmp_path: Path) -> None:
    before = bytes_below(place)
    (tmp_path / "none").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_text("text")
    for arguments, said in (
        ((delivery, "--name", "new", "--taxonomy", "blood"), "labels outside the taxonomy 'blood': 'NILM' x2"),
        ((delivery, "--name", "../new"), "cannot name a source"),
        ((delivery, "--name", "new", "--kind", "dicom"), "not one image"),
        ((delivery, "--name", "new", "--regions", "grid"), "is only for wsi-regions"),
        ((delivery, "--name", "new", "--kind", "fields-yolo"), "`kind`"),
        ((delivery, "--name", "new", "--mpp", "half"), "expected a number above 0"),
        ((delivery, "--name", "new", "--patient-id", "x"), "with a group"),
        ((delivery, "--name", "new", "--taxonomy", "nothing"), "there is no taxonomy"),
        ((delivery, "--name", "new", "--alias", "NILM"), "has no `=`"),
        ((tmp_path / "none", "--name", "new"), "no images"),
        ((tmp_path / "gone", "--name", "new"), "is not a folder"),
        ((tmp_path / "broken", "--name", "new"), "not one image"),
        ((place.parent, "--name", "new"), "contains this repository"),
    ):
        with pytest.raises(CytolineError) as caught:
            call(*arguments)
        assert said in caught.value.cause
    after = {name: content for name, content in bytes_below(place).items() if not name.startswith(".cytoline")}
    assert after == before


def test_a_name_in_use_is_not_overwritten(place: Path, delivery: Path) -> None:
    call(delivery, "--name", "new")
    with pytest.raises(CytolineError, match="is there already"):
        call(delivery, "--name", "new")


def test_dvc_tracks_the_folder_and_pushes_it_nowhere_or_to_secure(place: Path, delivery: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert dvc("init", "--quiet").returncode == 0
    assert "never pushed" in call(delivery, "--name", "new")
    (out,) = yaml.safe_load(Path("data/incoming/new.dvc").read_text())["outs"]
    assert out["push"] is False
    assert "/new" in Path("data/incoming/.gitignore").read_text()
    assert dvc("remote", "add", "secure", str(place.parent / "remote")).returncode == 0
    assert "only to the remote `secure`" in call(delivery, "--name", "again")
    (out,) = yaml.safe_load(Path("data/incoming/again.dvc").read_text())["outs"]
    assert out["remote"] == "secure"
    assert "push" not in out
    status = dvc("status")
    assert "up to date" in status.stdout, status.stdout + status.stderr


def test_a_failing_dvc_takes_everything_back(place: Path, delivery: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert dvc("init", "--quiet").returncode == 0
    before = project_files(place)

    with contextlib.suppress(KeyboardInterrupt), all_or_nothing() as undo:
        track_with_dvc(Path(shutil.copytree(delivery / "Annotations", "data/incoming/other")), undo)
        assert Path("data/incoming/other.dvc").is_file()
        raise KeyboardInterrupt
    shutil.rmtree("data/incoming/other")
    assert project_files(place) == before, "neither the .dvc file nor the line in .gitignore stays"

    Path(".dvc/config").write_text("[core\n")
    with pytest.raises(CytolineError, match=r"`dvc .*` failed"):
        call(delivery, "--name", "new")
    assert project_files(place) == before


def project_files(place: Path) -> dict[str, bytes]:
    """What the project holds, without what git, DVC and the memo store keep for themselves."""
    own = (".git/", ".dvc/", ".cytoline/")
    return {name: content for name, content in bytes_below(place).items() if not name.startswith(own)}


def test_an_interrupt_takes_everything_back(place: Path, delivery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path("params.yaml").read_bytes()

    def interrupted(*_: object) -> str:
        assert Path("data/incoming/new").is_dir(), "the last step, so everything else is done"
        raise KeyboardInterrupt

    monkeypatch.setattr("cytoline.add.track_with_dvc", interrupted)
    CliRunner().invoke(app, [str(delivery), "--name", "new"])
    assert not Path("data/incoming/new").exists()
    assert Path("params.yaml").read_bytes() == before


def test_params_keep_their_comments(tmp_path: Path) -> None:
    text = (
        "# head\n\ntaxonomy: bethesda   # classes\ncollect:\n  # why\n  sources:\n    - phantom  # built in\n  x: 'q'\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    list_source("new", None, False, tmp_path / "p.yaml")
    changed = (tmp_path / "p.yaml").read_text()
    assert yaml.safe_load(changed)["collect"] == {"sources": ["phantom", "new"], "x": "q"}
    for comment in ("# head", "# classes", "# why", "# built in"):
        assert comment in changed


def test_dicom_is_known_by_its_mark_and_counted_by_frame(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    dicom(folder / "S1" / "IM1", [frame(1), frame(2)], "ANNA-1", "1.2.3")
    dicom(folder / "S2" / "IM1", [frame(3)], "BERTA-2", "1.2.4")
    dicom(folder / "S2" / "LABEL", [frame(4)], "BERTA-2", "1.2.4", SpecimenLabelInImage="YES")
    said = call(folder, "--name", "ward")
    assert sorted(bytes_below(Path("data/incoming/ward"))) == ["S1/IM1", "S2/IM1", "source.yaml"]
    about = load_source(Path("data/incoming/ward"))
    assert (about.kind, about.patient_id, about.slide_id) == (
        "dicom",
        "column:PatientID",
        "column:SeriesInstanceUID",
    )
    for words in ("0.25 in 3 images; else unknown", "2 by column:PatientID", "label, overview", "2 files"):
        assert words in said
    assert "ANNA" not in said
    assert not list(Path(".cytoline").glob("unpacked-*"))


def test_slides_are_known_and_their_regions_counted(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    slide(folder / "a.tif", tissue())
    said = call(folder, "--name", "grid", "--region-px", "64")
    assert "images" in said
    about = load_source(Path("data/incoming/grid"))
    assert (about.kind, about.regions, about.region_px, about.slide_id) == ("wsi-regions", "grid", 64, "each-file")
    assert sorted(bytes_below(Path("data/incoming/grid"))) == ["a.tif", "source.yaml"]
    geojson(folder / "a.geojson", [shape(64, 64, 100, 80), shape(70, 70, 20, 20, "ASC-H")])
    said = call(folder, "--name", "marked")
    assert "HSIL" in said
    assert load_source(Path("data/incoming/marked")).regions == "geojson"
    assert sorted(bytes_below(Path("data/incoming/marked"))) == ["a.geojson", "a.tif", "source.yaml"]


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data here")
def test_published_fields_need_only_name_kind_and_taxonomy(place: Path) -> None:
    said = call(SHARED / "bccd", "--name", "bccd", "--kind", "fields-voc", "--taxonomy", "blood")
    assert "data/incoming/bccd: 292 images" in said
    assert load_source(Path("data/incoming/bccd")).patient_id == "each-file"


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data here")
def test_published_cells_need_only_name_and_kind(place: Path, tmp_path: Path) -> None:
    head, *rows = (SHARED / "cric_cells" / "cells.csv").read_text().splitlines()
    for row in rows[::25]:
        target = tmp_path / "cells" / row.split(",")[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SHARED / "cric_cells" / row.split(",")[0], target)
    (tmp_path / "cells" / "cells.csv").write_text("\n".join([head, *rows[::25]]))
    said = call(tmp_path / "cells", "--name", "cric", "--kind", "cells-folders")
    assert f"data/incoming/cric: {len(rows[::25])} images" in said
    about = load_source(Path("data/incoming/cric"))
    assert "patches.min_px" in said
    assert (about.patient_id, about.cell_box_px, about.organ) == ("column:field", 62, "cervix")
