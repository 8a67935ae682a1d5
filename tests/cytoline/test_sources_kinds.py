"""Annotations of each kind: what is understood, and what is refused by which reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cytoline.errors import CytolineError
from tests.planted_sources import coco, info, look, picture, reasons, voc

# -- COCO -------------------------------------------------------------------------------------------------------


def test_coco_reads_boxes_annotators_and_columns(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "p1" / "a.png")
    entry = {"id": 1, "file_name": "p1/a.png", "width": 40, "height": 30, "case": 77}
    box = {"id": 5, "image_id": "1", "category_id": 2, "bbox": [1, 2, 10, 12], "annotator": "Dr. X"}
    coco(root, [entry], [box, {**box, "id": 6}])
    examined = look(root, info("fields-coco", patient_id="column:case"))
    (image,) = examined.kept
    assert image.patient == "77"
    assert [(item.bbox, item.label, item.annotator) for item in image.boxes] == [((1, 2, 10, 12), "HSIL", "Dr. X")]
    assert examined.refused("box") == {"duplicate_box": 1}


def test_coco_entries_that_point_elsewhere_are_refused_with_their_boxes(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for name, seed in (("a.png", 0), ("b.png", 1), ("c.png", 2)):
        picture(root / name, seed)
    picture(tmp_path / "outside.png", 3)
    names = ["a.png", "../outside.png", str(tmp_path / "outside.png"), "gone.png", "a.png", None, "b.png"]
    entries: list[dict[str, Any]] = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    entries[6] |= {"width": 41, "height": 30}
    boxes: list[dict[str, Any]] = [
        {"image_id": number, "category_id": 1, "bbox": [0, 0, 5, 5]} for number in range(len(names))
    ]
    boxes += [
        {"image_id": 99, "category_id": 1, "bbox": [0, 0, 5, 5]},
        {"image_id": 0, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        {"image_id": 0, "category_id": 1, "bbox": [0, 0, 5]},
        {"image_id": 0, "category_id": 9, "bbox": [0, 0, 9, 9]},
    ]
    coco(root, entries, boxes)
    examined = look(root, info("fields-coco"))
    assert examined.refused("entry") == {
        "path_outside": 2,
        "annotation_without_image": 1,
        "listed_twice": 1,
        "bad_entry": 1,
    }
    assert examined.refused("file") == {"size_mismatch": 1, "no_annotation": 1}
    assert examined.refused("box") == {
        "image_refused": 6,
        "annotation_without_image": 1,
        "crowd_region": 1,
        "not_a_box": 1,
    }
    assert sorted(examined.labels) == ["NILM", "category_id 9"]
    assert examined.boxes == len(boxes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b'{"images": "\\ud800"}', "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
        (b"{}", "no list of objects `images`"),
        (b" " * 1_000_001, "larger than 1 MB"),
        (b'{"images": [{"id": 1}, {"id": "1"}], "annotations": [], "categories": []}', "occur twice"),
        (b'{"images": [], "annotations": [{}], "annotations": [], "categories": []}', "one name twice"),
    ],
)
def test_a_broken_coco_file_stops_with_its_name(tmp_path: Path, content: bytes, said: str) -> None:
    picture(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.json").write_bytes(content)
    with pytest.raises(CytolineError) as caught:
        look(tmp_path / "s", info("fields-coco"))
    assert "s/a.json" in caught.value.cause
    assert said in caught.value.cause


def test_of_several_json_files_one_must_be_named(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "a.png")
    picture(root / "b.png", 1)
    coco(root, [{"id": 1, "file_name": "a.png"}], [], "one.json")
    coco(root, [{"id": 1, "file_name": "b.png"}], [], "two.json")
    with pytest.raises(CytolineError, match="2 files could hold"):
        look(root, info("fields-coco"))
    with pytest.raises(CytolineError, match=r"three\.json is missing"):
        look(root, info("fields-coco", annotations="three.json"))
    assert reasons(look(root, info("fields-coco", annotations="one.json"))) == {
        "two.json": "other_file",
        "b.png": "no_annotation",
    }
    assert len(look(root, info("fields-coco", annotations=["one.json", "two.json"])).kept) == 2


def test_equal_bytes_with_other_boxes_are_said_to_disagree(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "z.png")
    picture(root / "a.png")
    coco(
        root,
        [{"id": 1, "file_name": "z.png"}, {"id": 2, "file_name": "a.png"}],
        [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}],
    )
    examined = look(root, info("fields-coco"))
    assert reasons(examined) == {"a.png": "duplicate_disagrees"}, "the one listed first stays"


# -- VOC --------------------------------------------------------------------------------------------------------


def test_voc_pairs_by_stem_and_refuses_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "s"
    notes = root / "Annotations"
    notes.mkdir(parents=True)
    for seed, stem in enumerate(["good", "named", "lonely", "bomb", "broken", "resized"]):
        picture(root / "JPEGImages" / f"{stem}.png", seed)
    files = {
        "good": voc([("NILM", 1, 2, 11, 12), ("NILM", 5, 5, 5, 9), ("HSIL", 30, 20, 50, 40), ("HSIL", 90, 0, 99, 9)]),
        "other": voc([("NILM", 1, 2, 11, 12)], "named.png"),
        "gone": voc([("NILM", 1, 2, 11, 12)], "gone.png"),
        "escape": voc([("NILM", 1, 2, 11, 12)], "../../x.png"),
        "bomb": '<!DOCTYPE a [<!ENTITY x "y">]><annotation><filename>&x;</filename></annotation>',
        "broken": "<annotation>",
        "resized": voc([("NILM", 1, 2, 11, 12)], size=(80, 60)),
    }
    for stem, text in files.items():
        (notes / f"{stem}.xml").write_text(text)
    examined = look(root, info("fields-voc"))
    assert reasons(examined) == {
        "Annotations/gone.xml": "annotation_without_image",
        "Annotations/escape.xml": "path_outside",
        "Annotations/bomb.xml": "bad_annotation",
        "Annotations/broken.xml": "bad_annotation",
        "JPEGImages/lonely.png": "no_annotation",
        "JPEGImages/bomb.png": "no_annotation",
        "JPEGImages/broken.png": "no_annotation",
        "JPEGImages/resized.png": "size_mismatch",
    }
    good, named = examined.kept
    assert named.found.path == "JPEGImages/named.png", "found by <filename>"
    assert [(box.label, box.bbox) for box in good.boxes] == [("NILM", (1, 2, 10, 10)), ("HSIL", (30, 20, 10, 10))]
    assert examined.refused("box") == {"degenerate": 1, "outside": 1, "image_refused": 3}
    assert [note.reason for note in examined.notes].count("clipped") == 1


def test_voc_pairs_equal_names_by_their_folders(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for seed, slide in enumerate("ab"):
        picture(root / "JPEGImages" / slide / "1.png", seed)
        (root / "Annotations" / slide).mkdir(parents=True)
        (root / "Annotations" / slide / "1.xml").write_text(voc([("NILM", seed, 2, 11, 12)]))
    (root / "Annotations" / "1.xml").write_text(voc([]))
    examined = look(root, info("fields-voc"))
    assert {image.found.path: image.boxes[0].bbox[0] for image in examined.kept} == {
        "JPEGImages/a/1.png": 0,
        "JPEGImages/b/1.png": 1,
    }
    assert reasons(examined) == {"Annotations/1.xml": "ambiguous"}


def test_voc_without_its_image_takes_none_from_another_patient(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for folder in ("pA", "pC"):
        (root / folder).mkdir(parents=True)
        (root / folder / "1.xml").write_text(voc([("HSIL", 20, 2, 31, 12)], "1.png"))
    picture(root / "pB" / "1.png")
    (root / "pB" / "1.xml").write_text(voc([("NILM", 1, 2, 11, 12)], "1.png"))
    picture(root / "pC" / "2.png", 1)
    picture(root / "pD" / "2.png", 2)
    (root / "pC" / "2.xml").write_text(voc([]))
    examined = look(root, info("fields-voc", patient_id="^([^/]+)/"))
    assert {image.found.path: [box.label for box in image.boxes] for image in examined.kept} == {
        "pB/1.png": ["NILM"],
        "pC/2.png": [],
    }
    assert reasons(examined) == {
        "pA/1.xml": "annotation_without_image",
        "pC/1.xml": "annotation_without_image",
        "pD/2.png": "no_annotation",
    }


def test_voc_beside_images_is_never_paired_by_name_with_another_folder(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "pA" / "2.png")
    (root / "pA" / "1.xml").write_text(voc([("HSIL", 1, 2, 11, 12)], "1.png"))
    picture(root / "pB" / "1.png", 1)
    examined = look(root, info("fields-voc"))
    assert examined.kept == ()
    assert reasons(examined)["pA/1.xml"] == "annotation_without_image"


def test_one_image_that_several_voc_files_could_mean_goes_to_none(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "pB" / "fields" / "1.png")
    for patient in ("pA", "pB"):
        (root / patient / "notes").mkdir(parents=True)
        (root / patient / "notes" / "1.xml").write_text(voc([("HSIL", 1, 2, 11, 12)], "1.png"))
    examined = look(root, info("fields-voc"))
    assert examined.kept == ()
    assert reasons(examined)["pA/notes/1.xml"] == reasons(examined)["pB/notes/1.xml"] == "ambiguous"


def test_a_folder_of_its_own_for_voc_comes_before_the_only_image_of_that_name(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "JPEGImages" / "a" / "1.png")
    (root / "Annotations" / "a").mkdir(parents=True)
    (root / "Annotations" / "1.xml").write_text(voc([("HSIL", 1, 2, 11, 12)], "1.png"))
    (root / "Annotations" / "a" / "1.xml").write_text(voc([("NILM", 1, 2, 11, 12)], "1.png"))
    examined = look(root, info("fields-voc"))
    assert list(examined.labels) == ["NILM"]
    assert reasons(examined) == {"Annotations/1.xml": "annotation_without_image"}


def test_papers_in_xml_are_notices_and_annotations_with_such_names_are_annotations(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "1.png")
    (root / "1.xml").write_text(voc([("NILM", 1, 2, 11, 12)]))
    (root / "citation.xml").write_text("<article/>")
    (root / "readme.xml").write_text("no XML at all")
    (root / "notice-7.xml").write_text(voc([("NILM", 1, 2, 11, 12)], "gone.png"))
    examined = look(root, info("fields-voc"))
    assert len(examined.kept) == 1
    assert reasons(examined) == {"notice-7.xml": "annotation_without_image"}
    assert examined.refused("box") == {"image_refused": 1}


# -- points and folders -----------------------------------------------------------------------------------------


def test_points_from_csv_become_boxes(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "a.png")
    (root / "points.csv").write_text(
        "file;x;y;label;case\na.png;20;15;NILM;7\na.png;oops;15;NILM;7\nb.png;1;1;NILM;8\n"
    )
    examined = look(root, info("fields-csv-points", box_px=10, patient_id="column:case"))
    (image,) = examined.kept
    assert (image.patient, image.boxes[0].bbox) == ("7", (15, 10, 10, 10))
    assert examined.refused("entry") == {"annotation_without_image": 1}
    assert examined.refused("box") == {"not_a_box": 1, "image_refused": 1}
    with pytest.raises(CytolineError, match="no column 'zz'"):
        look(root, info("fields-csv-points", box_px=10, columns={"x": "zz"}))


def test_points_from_a_json_list_keep_images_without_cells(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "a.png")
    picture(root / "b.png", 1)
    cells = [{"cell_id": 1, "bethesda_system": "SCC", "nucleus_x": 39, "nucleus_y": 15}]
    entries = [{"image_name": "a.png", "classifications": cells}, {"image_name": "b.png", "classifications": []}]
    (root / "c.json").write_text(json.dumps(entries))
    examined = look(root, info("fields-csv-points", box_px=10))
    assert {image.found.path: [box.bbox for box in image.boxes] for image in examined.kept} == {
        "a.png": [(34, 10, 6, 10)],
        "b.png": [],
    }


def test_cells_take_their_class_from_the_folder_and_the_rest_from_the_table(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for seed, name in enumerate(["NILM/1.png", "HSIL/2.png", "HSIL/3.png", "loose.png", "art/4.png"]):
        picture(root / name, seed)
    (root / "cells.csv").write_text(
        "file,field,nucleus_col,nucleus_row\nNILM/1.png,f1,20,15\nHSIL/2.png,f2,5,15\nart/4.png,f2,5,5\nX/9.png,f3,1,1\n"
    )
    about = info("cells-folders", patient_id="column:field", cell_box_px=20, label_aliases={"ART": None})
    examined = look(root, about)
    assert {image.found.path: (image.patient, [b.bbox for b in image.boxes]) for image in examined.kept} == {
        "NILM/1.png": ("f1", [(10, 5, 20, 20)]),
        "HSIL/2.png": ("f2", [(0, 5, 10, 20)]),
        "art/4.png": ("f2", []),
    }
    assert reasons(examined) == {
        "HSIL/3.png": "no_annotation",
        "loose.png": "no_class_folder",
        "X/9.png": "annotation_without_image",
    }
    assert examined.refused("box") == {"image_refused": 2, "label_left_out": 1}


def test_the_list_of_cells_is_the_one_list_of_objects(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for number in range(6):
        picture(root / f"{number}.png", number)
    cell = {"x": 20, "y": 15, "label": "SCC"}
    entries: list[dict[str, Any]] = [
        {"image": "0.png", "tags": ["x"], "cells": [cell]},
        {"image": "1.png", "tags": [], "cells": []},
        {"image": "2.png", "cells": [cell, cell], "nuclei": [cell]},
        {"image": "3.png"},
        {"image": "4.png", "cells": [cell, None], "tags": []},
        {"image": "5.png", "tags": [], "cells": [cell]},
    ]
    (root / "c.json").write_text(json.dumps(entries))
    examined = look(root, info("fields-csv-points", box_px=10))
    assert {image.found.path: len(image.boxes) for image in examined.kept} == {"0.png": 1, "1.png": 0, "5.png": 1}
    assert examined.refused("entry") == {"bad_entry": 3}
    assert examined.refused("box") == {"image_refused": 4}
    assert examined.boxes == 6


def test_a_first_row_that_ends_early_hides_no_column(tmp_path: Path) -> None:
    cells = tmp_path / "cells"
    picture(cells / "NILM" / "1.png")
    picture(cells / "NILM" / "2.png", 1)
    (cells / "cells.csv").write_text("file,field,x,y\nNILM/1.png,f1\nNILM/2.png,f2,20,15\n")
    examined = look(cells, info("cells-folders", patient_id="column:field", cell_box_px=10))
    assert {image.found.path: [box.bbox for box in image.boxes] for image in examined.kept} == {
        "NILM/1.png": [],
        "NILM/2.png": [(15, 10, 10, 10)],
    }
    assert examined.refused("box") == {"not_a_box": 1}

    points = tmp_path / "points"
    picture(points / "a.png")
    (points / "a.csv").write_text("label,file,x,y\nNILM,a.png\nNILM,a.png,20,15\n")
    examined = look(points, info("fields-csv-points", box_px=10))
    assert examined.refused("box") == {"not_a_box": 1}
    assert len(list(examined.labels)) == 1


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("image,x,x,y,label\na.png,5,6,7,NILM\n", "columns 2, 3 occur twice"),
        ("image,X,x,y,Label,label\na.png,5,6,7,NILM,HSIL\n", "columns 2, 3, 5, 6 occur twice"),
        ("image,x,y,label\na.png,5,7,NILM\na.png,5,7,NILM,more\n", "a.csv:3: a row with more cells"),
    ],
)
def test_a_table_whose_values_could_mean_two_things_is_refused(tmp_path: Path, table: str, said: str) -> None:
    picture(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.csv").write_text(table)
    with pytest.raises(CytolineError) as caught:
        look(tmp_path / "s", info("fields-csv-points", box_px=10))
    assert said in caught.value.cause


def test_a_table_without_a_header_shows_nobodys_name(tmp_path: Path) -> None:
    picture(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.csv").write_text("Anna,a.png,5,100,100,NILM,Anna\n" * 2)
    with pytest.raises(CytolineError, match="columns 1, 4, 5, 7 occur twice") as caught:
        look(tmp_path / "s", info("fields-csv-points", box_px=10))
    assert "Anna" not in str(caught.value)
    assert "add the header line" in caught.value.remedy


@pytest.mark.parametrize("before", ["\n", "\r\n\r\n", " \n", ";;;\n"])
def test_empty_lines_before_the_header_are_no_harm(tmp_path: Path, before: str) -> None:
    picture(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.csv").write_text(f"{before}image;x;y;label\na.png;20;15;NILM\n", newline="")
    assert list(look(tmp_path / "s", info("fields-csv-points", box_px=10)).labels) == ["NILM"]


@pytest.mark.parametrize("rules", [{"patient_id": "column:case"}, {"slide_id": "column:case"}])
def test_an_image_of_two_patients_or_slides_is_refused(tmp_path: Path, rules: dict[str, str]) -> None:
    root = tmp_path / "s"
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        picture(root / name, seed)
    (root / "points.csv").write_text(
        "file,x,y,label,case\n"
        "a.png,20,15,NILM,7\na.png,5,5,NILM,8\n"
        "b.png,20,15,NILM,M\u00fc\nb.png,5,5,NILM,Mu\u0308\nb.png,9,9,NILM,\n"
        "c.png,20,15,NILM,8\n",
        encoding="utf-8",
    )
    examined = look(root, info("fields-csv-points", box_px=10, **rules))
    assert {image.found.path: len(image.boxes) for image in examined.kept} == {"b.png": 3, "c.png": 1}
    assert examined.refused("entry") == {"rows_disagree": 1}
    assert examined.refused("file") == {"no_annotation": 1}
    assert examined.refused("box") == {"image_refused": 2}


def test_empty_cells_at_the_end_of_a_row_are_no_harm(tmp_path: Path) -> None:
    picture(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.csv").write_text("image,x,y,label,,\na.png,20,15,NILM,,,\n\n")
    assert look(tmp_path / "s", info("fields-csv-points", box_px=10)).boxes == 1


def test_a_first_json_object_that_says_less_hides_no_column(tmp_path: Path) -> None:
    root = tmp_path / "s"
    picture(root / "a.png")
    cells = [{"x": 5}, {"x": 20, "y": 15, "label": "SCC", "annotator": "amy"}]
    (root / "c.json").write_text(
        json.dumps([{"note": "made by hand", "cells": []}, {"image": "a.png", "cells": cells}])
    )
    examined = look(root, info("fields-csv-points", box_px=10))
    (image,) = examined.kept
    assert [(box.bbox, box.annotator) for box in image.boxes] == [((15, 10, 10, 10), "amy")]
    assert examined.refused("box") == {"not_a_box": 1}
    assert examined.refused("entry") == {"bad_entry": 1}


@pytest.mark.parametrize(("header", "columns"), [("reader", {}), ("drawn by", {"annotator": "Drawn by"})])
def test_cells_name_who_annotated_them(tmp_path: Path, header: str, columns: dict[str, str]) -> None:
    root = tmp_path / "s"
    picture(root / "NILM" / "1.png")
    picture(root / "NILM" / "2.png", 1)
    (root / "cells.csv").write_text(f"file,{header}\nNILM/1.png,bob\nNILM/2.png,\n")
    examined = look(root, info("cells-folders", columns=columns))
    assert [image.boxes[0].annotator for image in examined.kept] == ["bob", None]
