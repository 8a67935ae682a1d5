"""report: the page holds what it must, fetches nothing, and is the same twice."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from planted_results import Cell, ColourClassifier, Planted, model, plant, standard

from cytoline.errors import CytolineError
from stages.evaluate import evaluate
from stages.report import report
from stages.report.charts import Axis, Series, fitting_axis, interval_bar, line_chart, unit_axis

_VOID = {"meta", "img", "br", "link", "hr", "input", "image", "rect", "line", "circle", "polyline", "use", "path"}


class Outline(HTMLParser):
    """Checks nesting; collects ids, links, images and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag in {"a", "use", "image", "link"} else []
        if tag == "img":
            self.images.append(values)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "title"}:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


JUDGED = ("clean", "split", "detections", "upscaled", "detector", "upscaler", "classifier")


def judge(root: Path, images: list[Planted], monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant images and run evaluate over them; grading by colour takes the network's place."""
    folders = plant(root, images)
    (root / "data" / "quarantine").mkdir()
    if not any(item.role == "field" for item in images):
        model(folders["detector"], "detector", untrained="there are no annotated fields to train on")
    monkeypatch.chdir(root)
    monkeypatch.setattr(evaluate, "load_classifier", ColourClassifier)
    evaluate.main(**{name: folders[name] for name in JUDGED}, metrics=root / "metrics")


@pytest.fixture(scope="module")
def judged_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard images, judged; tests work on copies."""
    root = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        judge(root, standard(), patch)
    return root


@pytest.fixture
def write(tmp_path: Path, judged_once: Path, monkeypatch: pytest.MonkeyPatch):
    """Write the page of the standard images, or of others; gives its text."""
    root = tmp_path / "repository"

    def run(images: list[Planted] | None = None, **summaries: object) -> str:
        if images is not None:
            judge(root, images, monkeypatch)
        elif not root.exists():
            shutil.copytree(judged_once, root)
        monkeypatch.chdir(root)
        names = ("raw", "clean", "quarantine", "split", "augmented", "patches", "upscaled")
        folders = {name: root / "data" / name for name in names}
        for name, value in summaries.items():
            (folders[name] / "summary.json").write_text(json.dumps(value))
        folders |= {name: root / "models" / name for name in ("detector", "upscaler", "classifier")}
        report.main(**folders, metrics=root / "metrics", out=root / "reports" / "index.html")
        return (root / "reports" / "index.html").read_text()

    return run


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_is_well_formed_and_fetches_nothing(write) -> None:
    page = write()
    found = outline(page)
    assert not found.tags & {"script", "link", "iframe", "object"}
    assert "default-src 'none'" in page
    targets = [link for link in found.links if not link.startswith("#")]
    assert targets
    assert all(link.startswith("data:image/jpeg;base64,") for link in targets)
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in found.images)
    assert not re.search(r"https?://", re.sub(r"data:image/[^\"]+", "", page))
    assert not re.search(r"@import|url\(", page)
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_the_page_shows_figures_mistakes_and_cards(write) -> None:
    words = outline(write()).words
    figures = json.loads(Path("metrics/detector.json").read_text())
    assert f"{figures['ap50']:.3f}" in words
    assert f"[{figures['ap50_low']:.3f}, {figures['ap50_high']:.3f}]" in words
    assert "HSIL called SCC" in words
    assert "NILM missed no detection at any score" in words
    assert "It is no model." in words
    assert "nothing here is a diagnosis" in words
    assert "Bicubic 30.25 0.8750" in words
    assert "Trained network 31.50 [31.25, 31.75] –" in words
    confusion = re.search(r"Confusion matrix.*?Per class", words)
    assert confusion is not None
    assert "HSIL 0 0% 0 0% 0 0% 1 100%" in confusion.group()


def test_two_runs_write_the_same_bytes(write) -> None:
    assert write() == write()


def test_counts_of_what_came_in_was_hidden_and_refused(write) -> None:
    page = write(
        clean={"images": {"in": 9, "redacted": 4}, "texts": 17},
        augmented={
            "copies": 1,
            "splits": ["train"],
            "images": 1234,
            "cells": 5678,
            "varied_outside_train": [],
        },
    )
    words = outline(page).words
    assert "images: in 9 images: redacted 4 texts 17" in words
    assert "1,234 varied copies with 5,678 cells" in words
    assert "Validation and test are as they came." in words
    assert "Augmentation touched" not in words


def test_augmentation_of_validation_is_said_at_the_top(write) -> None:
    summary = {"copies": 1, "splits": ["train", "val"], "images": 2, "cells": 2, "varied_outside_train": ["val"]}
    words = outline(write(augmented=summary)).words
    assert "Augmentation touched val." in words
    assert words.index("Augmentation touched val.") < words.index("Sample fields")


def test_refused_and_quarantined_are_counted_by_reason_and_never_named(write) -> None:
    write()
    collected = {"sources": {"planted": {"seen": 97, "kept": 94, "refused": 3, "reasons": {"truncated": 3}}}}
    Path("data/raw/collected.json").write_text(json.dumps(collected))
    Path("data/raw/refused.jsonl").write_text('{"file": "SMITH_Jane.jpg", "reason": "truncated"}\n')
    row = '{"image_id": "aa", "reason": "text_remains"}\n'
    Path("data/quarantine/quarantine.jsonl").write_text(row * 2)
    page = write()
    words = outline(page).words
    assert "97 94 3" in words
    assert "truncated 3" in words
    assert "text remains 2" in words
    assert "SMITH" not in page


def test_single_cells_give_a_page_that_says_what_is_missing(write) -> None:
    cells = [
        Planted(f"c{n}", f"p{n}", split, [Cell((0, 0, 40, 40), label, label)], role="cell", size=(40, 40))
        for n, (split, label) in enumerate([("test", "NILM"), ("test", "SCC"), ("val", "NILM"), ("train", "SCC")])
    ]
    words = outline(write(cells)).words
    assert "Finding cells was not judged: the split holds no labelled field." in words
    assert "not trained: there are no annotated fields to train on" in words
    assert "1.000" in words


def test_painted_over_cells_are_counted_apart(write) -> None:
    images = standard()
    images[2] = Planted("t3", "pc", "test", [Cell((60, 20, 20, 20), "NILM", "SCC", 0.9)], redacted=frozenset({0}))
    words = outline(write(images)).words
    assert "the figures are of the 4 cells of the 3 patients" in words
    assert "(1 painted over by the anonymizer do not count)" in words


def test_hostile_names_are_text_and_not_markup(write) -> None:
    write()
    hostile = {"sources": {"<script>alert(1)</script>": {"images": 1}}}
    Path("data/raw/collected.json").write_text(json.dumps(hostile))
    page = write()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_missing_figures_are_an_error_that_says_what_to_do(write) -> None:
    write()
    Path("metrics/two_stage.json").unlink()
    with pytest.raises(CytolineError, match=r"two_stage\.json is missing") as raised:
        write()
    assert "dvc repro" in raised.value.remedy


# --- charts --------------------------------------------------------------------------------------------------


def test_a_curve_goes_through_the_corners_of_its_axes() -> None:
    chart = str(line_chart("t", [Series("s", ((0.0, 0.0), (1.0, 1.0)), "red")], unit_axis("x"), unit_axis("y")))
    assert 'points="52.0,256.0 426.0,12.0"' in chart


def test_a_logarithmic_axis_spaces_doublings_alike() -> None:
    axis = Axis("x", 1 / 8, 8, (1 / 8, 1, 8), log=True)
    assert [axis.place(value) for value in (1 / 8, 1, 8)] == pytest.approx([0, 0.5, 1])
    assert axis.place(100) == 1


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.3, 2.1], (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)),
        ([5.0, 5.0], (4.4, 4.6, 4.8, 5.0, 5.2, 5.4, 5.6)),
        ([], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    ],
)
def test_axes_have_round_ticks_around_the_values(values: list[float], ticks: tuple[float, ...]) -> None:
    assert fitting_axis("y", values).ticks == pytest.approx(ticks)


def test_an_empty_chart_says_so() -> None:
    assert "nothing to draw" in line_chart("t", [Series("s", (), "red")], unit_axis("x"), unit_axis("y"))


def test_a_chart_escapes_what_it_is_given() -> None:
    chart = line_chart('<b>"', [Series("<i>", ((0.0, 0.0),), "red")], unit_axis("x"), unit_axis("y"))
    assert "<b>" not in chart
    assert "<i>" not in chart


def test_dots_grow_with_what_they_stand_on() -> None:
    series = Series("s", ((0.0, 0.0), (1.0, 1.0)), "red", True, (1.0, 100.0))
    chart = line_chart("t", [series], unit_axis("x"), unit_axis("y"))
    assert re.findall(r' r="([\d.]+)"', chart) == ["2.2", "9.0"]


def test_the_interval_bar_covers_low_to_high() -> None:
    assert 'x="100.0" y="4" width="49.0"' in interval_bar(0.6, 0.5, 0.75)
    assert "opacity" not in interval_bar(0.6, None, None)
