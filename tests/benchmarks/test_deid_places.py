"""Every hiding place: the planted file is valid, holds its canary and no other, and is the same every time."""

from __future__ import annotations

import collections
import os
import warnings
from pathlib import Path

import openslide
import pytest
from PIL import Image
from pydicom import dcmread

from benchmarks.deid.canary import Canary
from benchmarks.deid.needles import Search
from benchmarks.deid.place import Place
from benchmarks.deid.plant import places

PLACES = places()
IMAGES = {".jpg", ".png", ".bmp", ".webp", ".avif", ".tif", ".tiff", ".svs", ".ndpi"}


def planted(place: Place, folder: Path) -> Canary:
    canary = Canary.of(place.name)
    folder.mkdir()
    try:
        place.write(folder, canary)
    except OSError:
        if place.name == "names/extended-attribute":
            pytest.skip("this file system keeps no extended attributes")
        raise
    return canary


def test_there_are_enough_places_with_names_of_their_own() -> None:
    formats = collections.Counter(place.format for place in PLACES)
    assert len(PLACES) >= 110
    assert len({place.name for place in PLACES}) == len(PLACES)
    assert formats["jpeg"] >= 60
    assert formats["tiff"] + formats["slide"] >= 60
    assert formats["dicom"] >= 60
    assert formats["png"] >= 25
    assert formats["names"] >= 25


def test_no_two_places_share_a_canary() -> None:
    tokens = {Canary.of(place.name).token for place in PLACES}
    names = {Canary.of(place.name).family for place in PLACES}
    assert len(tokens) == len(names) == len(PLACES)
    assert Canary.of("jpeg/COM", run=1).token != Canary.of("jpeg/COM").token


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_planted_files_hold_the_canary_open_and_are_the_same_every_time(place: Place, tmp_path: Path) -> None:
    canary = planted(place, tmp_path / "one")
    survival = Search(canary.needles(place.carries)).in_folder(tmp_path / "one")
    assert survival.how
    assert survival.complete
    assert sum(opened(path) for path in (tmp_path / "one").rglob("*")) == 1
    planted(place, tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("place", PLACES[::6], ids=lambda place: place.name)
def test_a_canary_that_was_not_planted_is_not_found(place: Place, tmp_path: Path) -> None:
    planted(place, tmp_path / "case")
    other = Canary.of(place.name, run=1)
    survival = Search(other.needles(place.carries)).in_folder(tmp_path / "case")
    assert survival.gone


@pytest.mark.parametrize("name", ["svs/tile-COM", "svs/label-pixels", "ndpi/65427-reference"])
def test_slides_open_as_slides(name: str, tmp_path: Path) -> None:
    place = next(place for place in PLACES if place.name == name)
    planted(place, tmp_path / "case")
    path = next((tmp_path / "case").iterdir())
    with openslide.OpenSlide(str(path)) as slide:
        assert slide.dimensions == (320, 240)
        assert slide.read_region((0, 0), 0, (320, 240)).getbbox()
        if name.startswith("svs/"):
            assert set(slide.associated_images) == {"label", "macro", "thumbnail"}


def content(folder: Path) -> dict[str, bytes]:
    """Path to bytes, or to the target of a link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        key = str(path.relative_to(folder))
        if path.is_symlink():
            found[key] = os.fsencode(path.readlink())
        elif path.is_file():
            found[key] = path.read_bytes()
    return found


def opened(path: Path) -> bool:
    """Whether it is an image; one that cannot be decoded fails the test."""
    if path.suffix == ".dcm":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # surplus behind the pixels is what is planted
            dataset = dcmread(path)
            assert str(dataset)
            assert dataset.pixel_array.shape == (240, 320, 3)
        return True
    if path.suffix not in IMAGES or not path.is_file() or path.name.startswith("._"):
        return False
    with Image.open(path) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
    return True
