"""Random pseudonyms and the file that remembers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cytoline.crosswalk import Crosswalk, write_private
from cytoline.errors import CytolineError


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    repository = tmp_path / "repository"
    repository.mkdir()
    return tmp_path / "private" / "crosswalk.json", repository


def test_what_was_given_is_given_again_after_a_restart(place: tuple[Path, Path]) -> None:
    first = Crosswalk.load(*place)
    anna, slide = first.of("patient", "Anna"), first.of("slide", "Anna")
    assert anna != slide
    assert first.of("patient", "Anna") == anna
    first.save()
    assert place[0].stat().st_mode & 0o777 == 0o600
    again = Crosswalk.load(*place)
    assert (again.of("patient", "Anna"), again.key_id) == (anna, first.key_id)
    again.of("patient", "Berta")
    again.save()
    assert Crosswalk.load(*place).of("patient", "Berta") == again.of("patient", "Berta")


def test_codes_come_from_chance_and_not_from_the_value(place: tuple[Path, Path]) -> None:
    codes = {Crosswalk.load(*place).of("patient", "Anna") for _ in range(5)}
    assert len(codes) == 5, "nothing was saved between"
    assert "Anna" not in repr(Crosswalk.load(*place))


def test_two_runs_at_once_lose_nothing(place: tuple[Path, Path]) -> None:
    one, other = Crosswalk.load(*place), Crosswalk.load(*place)
    assert one.key_id == other.key_id
    anna, berta = one.of("patient", "Anna"), other.of("patient", "Berta")
    one.save()
    other.save()
    again = Crosswalk.load(*place)
    assert (again.of("patient", "Anna"), again.of("patient", "Berta")) == (anna, berta)


def test_of_two_runs_that_draw_for_one_person_the_later_fails(place: tuple[Path, Path]) -> None:
    one, other = Crosswalk.load(*place), Crosswalk.load(*place)
    anna = one.of("patient", "Anna")
    other.of("patient", "Anna")
    one.save()
    with pytest.raises(CytolineError, match="same people") as error:
        other.save()
    assert "Anna" not in str(error.value)
    assert Crosswalk.load(*place).of("patient", "Anna") == anna


def test_a_link_is_refused(place: tuple[Path, Path], tmp_path: Path) -> None:
    Crosswalk.load(*place).save()
    link = tmp_path / "link.json"
    link.symlink_to(place[0])
    with pytest.raises(CytolineError, match="a link"):
        Crosswalk.load(link, place[1])
    nowhere = tmp_path / "nowhere.json"
    nowhere.symlink_to(tmp_path / "missing" / "file.json")
    with pytest.raises(CytolineError, match="a link"):
        Crosswalk.load(nowhere, place[1])


def test_spellings_of_one_person_have_one_code(place: tuple[Path, Path]) -> None:
    names = Crosswalk.load(*place)
    assert names.of("patient", "Mu\u0308ller") == names.of("patient", "M\u00fcller")
    with pytest.raises(CytolineError, match="NUL"):
        names.of("patient", "Anna\0")


def given(*pairs: tuple[str, str]) -> str:
    """A file of these names and digits, as text: JSON would not write a name twice."""
    codes = ", ".join(f'"{name}": "{digit * 32}"' for name, digit in pairs)
    return f'{{"version": 1, "id": "a", "given": {{"patient": {{{codes}}}}}}}'


DUPLICATE_CODE, DUPLICATE_KEY = given(("Anna", "0"), ("Berta", "0")), given(("Anna", "0"), ("Anna", "1"))


def test_the_form_of_the_planted_damage_is_right(place: tuple[Path, Path]) -> None:
    Crosswalk.load(*place)
    place[0].write_text(given(("Anna", "0"), ("Berta", "1")))
    assert Crosswalk.load(*place).of("patient", "Anna") == "0" * 32


@pytest.mark.parametrize(
    "damage",
    [DUPLICATE_CODE, DUPLICATE_KEY, "{", "[]", '{"version": 1, "id": "a", "given": {"patient": {"Anna": "no code"}}}'],
)
def test_a_damaged_file_is_never_taken_for_an_empty_one(place: tuple[Path, Path], damage: str) -> None:
    Crosswalk.load(*place).save()
    place[0].write_text(damage)
    with pytest.raises(CytolineError, match="damaged") as error:
        Crosswalk.load(*place)
    assert "Anna" not in str(error.value)


def test_open_or_misplaced_files_are_refused(place: tuple[Path, Path]) -> None:
    Crosswalk.load(*place).save()
    place[0].chmod(0o640)
    with pytest.raises(CytolineError, match="read by others"):
        Crosswalk.load(*place)
    with pytest.raises(CytolineError, match="inside the repository"):
        Crosswalk.load(place[1] / "crosswalk.json", place[1])


def test_a_failed_write_leaves_the_last_good_file(place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = Crosswalk.load(*place)
    first.of("patient", "Anna")
    first.save()
    before = place[0].read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    second = Crosswalk.load(*place)
    second.of("patient", "Berta")
    with pytest.raises(CytolineError, match="No space left"):
        second.save()
    assert place[0].read_bytes() == before
    assert [item.name for item in place[0].parent.iterdir()] == [place[0].name]
    assert json.loads(before)["version"] == 1


def test_a_folder_that_is_a_file_is_said_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file/map.json", "file/below/map.json"):
        with pytest.raises(CytolineError, match="cannot be written"):
            write_private(tmp_path / place, "{}")
