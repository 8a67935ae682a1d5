"""The split: growth moves nobody, copies stay together, leaks are fatal."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from cytoline.errors import CytolineError
from cytoline.images import RGB, png_bytes, read_image
from cytoline.manifest import Annotation, Record, write_manifest
from cytoline.splits import SPLITS, SplitRow, read_split, read_split_rows, write_split_rows
from stages.split.__main__ import main, split_images, warnings_of
from stages.split.assign import assign, group_patients, part_of, place, suggest_salt
from stages.split.duplicates import FINGERPRINT, fingerprint, nearly_same, same_pixels, turns
from stages.split.params import SplitParams

PARAMS = SplitParams(train=0.6, val=0.2, test=0.2, salt=3, duplicate_distance=40)
BCCD = Path(__file__).parents[3] / "shared" / "data" / "bccd" / "JPEGImages"
CLASSES = ("NILM", "LSIL", "HSIL", "SCC")

patients = st.sets(st.text("0123456789abcdef", min_size=4, max_size=8), min_size=1, max_size=60)
links = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=12)


def between(names: list[str], drawn: list[tuple[int, int]]) -> list[tuple[str, str]]:
    return [(names[a % len(names)], names[b % len(names)]) for a, b in drawn]


def parts(names: set[str], linked: list[tuple[str, str]]) -> dict[str, str]:
    return {name: part for name, (_, part) in assign(group_patients(names, linked), PARAMS).items()}


@settings(max_examples=40)
@given(patients, patients, st.integers(0, 999))
def test_new_patients_move_nobody(old: set[str], new: set[str], salt: int) -> None:
    params = PARAMS.model_copy(update={"salt": salt})
    before = assign(group_patients(old, []), params)
    after = assign(group_patients(old | new, []), params)
    assert {name: after[name] for name in old} == before


@settings(max_examples=40)
@given(patients, patients, links)
def test_new_patients_who_share_no_image_with_old_ones_move_nobody(
    old: set[str], new: set[str], drawn: list[tuple[int, int]]
) -> None:
    new = new - old
    assume(new)
    among_old, among_new = between(sorted(old), drawn), between(sorted(new), drawn)
    before, after = parts(old, among_old), parts(old | new, among_old + among_new)
    assert {name: after[name] for name in old} == before


@settings(max_examples=40)
@given(patients, links)
def test_linked_patients_share_a_part(names: set[str], drawn: list[tuple[int, int]]) -> None:
    linked = between(sorted(names), drawn)
    assigned = parts(names, linked)
    assert all(assigned[one] == assigned[other] for one, other in linked)
    assert set(assigned) == names


@settings(max_examples=40)
@given(patients, links)
def test_a_newcomer_moves_at_most_those_it_is_linked_with(names: set[str], drawn: list[tuple[int, int]]) -> None:
    linked = between(sorted(names), drawn)
    before, after = parts(names, linked), parts(names | {"newcomer"}, [*linked, ("newcomer", min(names))])
    touched = next(group for group in group_patients(names, linked) if min(names) in group)
    assert all(before[name] == after[name] for name in names - set(touched))


def test_shares_are_those_asked_for() -> None:
    counts = Counter(part_of(f"{number:032x}", 0, PARAMS) for number in range(20_000))
    assert {name: round(counts[name] / 20_000, 2) for name in SPLITS} == {"train": 0.6, "val": 0.2, "test": 0.2}
    assert len({place("a", salt) for salt in range(50)}) == 50


def test_a_suggested_salt_spreads_every_class() -> None:
    names = [f"{number:032x}" for number in range(24)]
    cells = {name: Counter({CLASSES[number % 4]: 10}) for number, name in enumerate(names)}
    salt, gap = suggest_salt([(name,) for name in names], cells, PARAMS)
    there = {(part_of(name, salt, PARAMS), label) for name in names for label in cells[name]}
    assert len(there) == len(SPLITS) * len(CLASSES)
    assert gap < 0.4


@pytest.mark.parametrize("wrong", [{"train": 0.7}, {"train": 1.2, "val": -0.4}, {"salt": "x"}, {"extra": 1}])
def test_impossible_params_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"split|Split"):
        SplitParams.model_validate({**PARAMS.model_dump(), **wrong})


# Images ---------------------------------------------------------------------------------------------------------


def texture(seed: int, size: tuple[int, int] = (160, 120)) -> RGB:
    """Blobs on one stain: as alike in colour as fields of one slide."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0]), np.uint8)).filter(ImageFilter.GaussianBlur(6))
    grey = np.asarray(noise, float)
    weight = ((grey - grey.min()) / np.ptp(grey))[..., None]
    return np.asarray(weight * (222, 190, 214) + (1 - weight) * (150, 90, 160), np.uint8)


def saved_again(rgb: RGB, quality: int) -> RGB:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return read_image(buffer.getvalue())


def halved(rgb: RGB) -> RGB:
    return np.asarray(Image.fromarray(rgb).resize((rgb.shape[1] // 2, rgb.shape[0] // 2)), np.uint8)


def printed(images: list[RGB], folder: Path) -> list[bytes]:
    prints = []
    for number, image in enumerate(images):
        path = folder / f"{number}.png"
        path.write_bytes(png_bytes(image))
        prints.append(fingerprint(path, None)[FINGERPRINT])
    return prints


def test_copies_are_found_and_strangers_are_not(tmp_path: Path) -> None:
    one = texture(1)
    brighter = np.asarray(np.clip(one.astype(float) * 1.08, 0, 255), np.uint8)
    images = [one, one, saved_again(one, 60), halved(one), brighter, *(texture(seed) for seed in range(2, 22))]
    prints = printed(images, tmp_path)
    assert list(same_pixels(prints)) == [(0, 1)]
    assert set(nearly_same(prints, PARAMS.duplicate_distance)) == {(a, b) for a in range(5) for b in range(a + 1, 5)}


@pytest.mark.parametrize("turn", range(1, 8))
def test_turned_and_mirrored_copies_are_found(turn: int, tmp_path: Path) -> None:
    one = texture(1)
    turned = np.ascontiguousarray(list(turns(one))[turn])
    prints = printed([one, turned, saved_again(turned, 60), *(texture(seed) for seed in range(2, 12))], tmp_path)
    assert list(same_pixels(prints)) == [(0, 1)]
    assert list(nearly_same(prints, PARAMS.duplicate_distance)) == [(0, 1), (0, 2), (1, 2)]


def test_the_orientations_are_eight() -> None:
    seen = [turned.tolist() for turned in turns(np.arange(6).reshape(2, 3))]
    assert seen[0] == [[0, 1, 2], [3, 4, 5]]
    assert len({str(item) for item in seen}) == 8


def test_pixels_have_the_last_word(tmp_path: Path) -> None:
    """Even if the hash would let everything pass."""
    prints = printed([texture(seed) for seed in range(8)], tmp_path)
    assert list(nearly_same(prints, 256)) == []


@pytest.mark.skipif(not BCCD.is_dir(), reason="../shared/data/bccd is not there")
def test_real_fields_of_one_stain_are_told_apart() -> None:
    files = [file for file in sorted(BCCD.glob("*.jpg")) if "00030" <= file.stem[-5:] <= "00046"]
    prints = [fingerprint(file, None)[FINGERPRINT] for file in files]
    found = [(files[a].stem, files[b].stem) for a, b in nearly_same(prints, PARAMS.duplicate_distance)]
    assert found == [("BloodImage_00037", "BloodImage_00038")], "these two do show the same cells"


# The stage ------------------------------------------------------------------------------------------------------


def store(folder: Path, images: dict[str, list[RGB]]) -> list[Record]:
    """A data/clean of patient -> images, each with one cell."""
    (folder / "images").mkdir(parents=True)
    records = []
    for number, (patient, pictures) in enumerate(sorted(images.items())):
        for index, picture in enumerate(pictures):
            content, name = png_bytes(picture), hashlib.md5(f"{patient}{index}".encode()).hexdigest()
            (folder / "images" / f"{name}.png").write_bytes(content)
            height, width = picture.shape[:2]
            records.append(
                Record(
                    image_id=name,
                    file=f"{name}.png",
                    sha256=hashlib.sha256(content).hexdigest(),
                    width=width,
                    height=height,
                    mpp=None,
                    patient=patient,
                    slide=patient,
                    source="made",
                    organ="cervix",
                    stain="papanicolaou",
                    role="field",
                    annotations=(Annotation(bbox=(4, 4, 20, 20), label=CLASSES[number % 4]),),
                )
            )
    write_manifest(folder, records)
    return sorted(records, key=lambda record: record.image_id)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty work place with params and taxonomies."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(Path(__file__).parents[2] / "configs")
    write_params(tmp_path, PARAMS.salt)
    return tmp_path


def write_params(folder: Path, salt: int, **changed: object) -> None:
    split = {**PARAMS.model_dump(), "salt": salt, **changed}
    shown = {
        "seed": 0,
        "taxonomy": "bethesda",
        "profile": "cpu",
        "profiles": {"cpu": {}},
        "compute": {"scheduler": "local", "workers": 1, "threads": 1},
        "split": split,
    }
    (folder / "params.yaml").write_text(json.dumps(shown), encoding="utf-8")


def summary(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return loaded


def test_the_stage_keeps_patients_and_copies_together(here: Path) -> None:
    images = {f"p{number:02d}": [texture(10 * number), texture(10 * number + 1)] for number in range(20)}
    alone = {name: part_of(name, PARAMS.salt, PARAMS) for name in images}
    train, test = (min(name for name in alone if alone[name] == part) for part in ("train", "test"))
    images[test].append(saved_again(images[train][0], 70))
    records = store(here / "clean", images)

    main(here / "clean", here / "split")

    rows = {row.image_id: row for row in read_split_rows(here / "split")}
    told = summary(here / "split")
    assert set(rows) == {record.image_id for record in records}
    assert len({rows[r.image_id].split for r in records if r.patient in (train, test)}) == 1
    for name in set(images) - {train, test}:
        assert {rows[r.image_id].split for r in records if r.patient == name} == {alone[name]}
    assert (told["near_duplicate_pairs"], told["linked_groups"], told["groups"]) == (1, 1, 19)
    assert sum(part["images"] for part in told["parts"].values()) == 41
    assert sum(part["cells"] for part in told["parts"].values()) == 41
    assert sum(part["patients"] for part in told["parts"].values()) == 20


def test_more_patients_change_no_line_that_was_there(here: Path) -> None:
    images = {f"p{number:02d}": [texture(number)] for number in range(16)}
    store(here / "few", images)
    store(here / "more", {**images, **{f"q{number:02d}": [texture(100 + number)] for number in range(8)}})
    main(here / "few", here / "split")
    main(here / "more", here / "split_more")
    few, more = ((here / name / "split.jsonl").read_text().splitlines() for name in ("split", "split_more"))
    assert set(few) < set(more)
    assert len(more) == 24


def test_a_missing_class_is_said_loudly(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"p{number:02d}" for number in range(24)]
    store(here / "clean", {name: [texture(number)] for number, name in enumerate(names)})
    bad = next(salt for salt in range(999) if {"val": 2, "test": 4}.items() <= spread(names, salt).items())
    write_params(here, bad)
    main(here / "clean", here / "split")
    told = summary(here / "split")
    assert any(warning.startswith("val holds no ") for warning in told["warnings"])
    shown = capsys.readouterr().err
    assert "WARNING: val holds no" in shown
    assert f"`split.salt: {told['best_salt']}`" in shown
    write_params(here, told["best_salt"])
    main(here / "clean", here / "split")
    assert summary(here / "split")["imbalance"] == told["best_imbalance"] < told["imbalance"]


def test_a_class_with_few_cells_is_said_too_and_one_with_enough_is_not() -> None:
    params = SplitParams(train=0.6, val=0.2, test=0.2, salt=0, duplicate_distance=40)
    parts = {
        "train": {"classes": {"NILM": 500, "SCC": 40, "HSIL": 0}},
        "val": {"classes": {"NILM": 90, "SCC": 9, "HSIL": 0}},
        "test": {"classes": {"NILM": 80, "SCC": 10, "HSIL": 0}},
    }
    assert warnings_of(parts, params) == ["val holds only 9 SCC; figures for it will say little"]


def test_an_empty_part_stops_the_stage_and_leaves_the_old_out(here: Path) -> None:
    store(here / "clean", {"p1": [texture(1)], "p2": [texture(2)]})
    (here / "split").mkdir()
    (here / "split" / "split.jsonl").write_text("old")
    with pytest.raises(CytolineError, match=r"of 2 patients none fell into"):
        main(here / "clean", here / "split")
    assert (here / "split" / "split.jsonl").read_text() == "old"


def test_a_leak_is_fatal(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With grouping broken on purpose, the last check must hold."""
    one = texture(1)
    names = [f"p{number}" for number in range(12)]
    records = store(here / "clean", {name: [one] for name in names})
    prints = [fingerprint(here / "clean" / "images" / record.file, None)[FINGERPRINT] for record in records]
    monkeypatch.setattr(
        "stages.split.__main__.group_patients", lambda names, links: [(name,) for name in sorted(names)]
    )
    with pytest.raises(CytolineError, match="leakage: the images"):
        split_images(records, prints, PARAMS)


def test_a_leak_is_fatal_even_if_no_pair_was_seen(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last check looks for itself: it does not live on the pairs that the groups were made from."""
    views = [np.ascontiguousarray(view) for view in turns(texture(1))]
    records = store(here / "clean", {f"p{number}": [views[number % 8]] for number in range(12)})
    prints = [fingerprint(here / "clean" / "images" / record.file, None)[FINGERPRINT] for record in records]
    assert len({row.split for row in split_images(records, prints, PARAMS)[0]}) == 1
    for finder in ("same_pixels", "nearly_same"):
        monkeypatch.setattr(f"stages.split.__main__.{finder}", lambda *_: iter(()))
    with pytest.raises(CytolineError, match="leakage: the images"):
        split_images(records, prints, PARAMS)


def spread(names: list[str], salt: int) -> Counter[str]:
    return Counter(part_of(name, salt, PARAMS) for name in names)


def row(image: str, patient: str, part: str, group: str | None = None) -> SplitRow:
    return SplitRow.model_validate({"image_id": image, "patient": patient, "group": group or patient, "split": part})


@pytest.mark.parametrize(
    "rows",
    [
        [row("a", "p", "train"), row("b", "p", "test")],
        [row("a", "p", "train", "g"), row("b", "q", "val", "g")],
        [row("a", "p", "train"), row("a", "p", "train")],
    ],
)
def test_a_table_that_leaks_is_neither_written_nor_read(tmp_path: Path, rows: list[SplitRow]) -> None:
    with pytest.raises(CytolineError, match=r"leakage|twice"):
        write_split_rows(tmp_path, rows)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "split.jsonl").write_text("".join(item.model_dump_json() + "\n" for item in rows))
    with pytest.raises(CytolineError, match=r"leakage|twice"):
        read_split(tmp_path)


@settings(max_examples=25)
@given(st.dictionaries(st.from_regex(r"[a-f0-9]{8}", fullmatch=True), st.sampled_from(SPLITS), max_size=20))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, str]) -> None:
    folder = tmp_path_factory.mktemp("split")
    write_split_rows(folder, [row(name, name, part) for name, part in wanted.items()])
    assert read_split(folder) == wanted
