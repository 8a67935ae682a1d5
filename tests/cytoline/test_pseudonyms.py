"""Pseudonyms and their key."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoline import pseudonyms
from cytoline.errors import CytolineError
from cytoline.pseudonyms import KEY_VARIABLE, Domain, Pseudonyms, ensure_key, key_path, load_key, synthetic_key


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


def test_a_pseudonym_is_what_it_was_yesterday() -> None:
    """Pinned to what `openssl dgst -sha256 -mac HMAC` says: another value would cut archives off from their past."""
    assert Pseudonyms(bytes(32)).of("patient", "Anna") == "4be3c47b2e4fe7fb0379a47e4aa7f031"
    assert Pseudonyms(synthetic_key()).key_id == "7dd9a491"


@settings(max_examples=30)
@given(st.text(), st.text())
def test_equal_values_and_only_those_are_equal(one: str, other: str) -> None:
    names = Pseudonyms(bytes(32))
    one, other = one.replace("\0", ""), other.replace("\0", "")
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert (names.of("patient", one) == names.of("patient", other)) == same


ACCENTED = st.text(
    st.sampled_from("aeoun\u0308\u0301\u0327\u00fc\u00e9\u1e69\u0323\u0307s\u212b\u1100\u1161 "), max_size=8
)


@settings(max_examples=60)
@given(ACCENTED, st.sampled_from(["patient", "slide", "annotator", "uid", "days"]))
def test_every_spelling_of_a_name_is_one_pseudonym(name: str, domain: Domain) -> None:
    spellings = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")} | {name}
    assert len({Pseudonyms(bytes(32)).of(domain, spelling) for spelling in spellings}) == 1


@settings(max_examples=30)
@given(st.text(max_size=5), st.sampled_from(["\0", "\ud800", "\udcff", "\udfff"]), st.text(max_size=5))
def test_values_that_nobody_gave_are_refused_and_not_repeated(before: str, odd: str, after: str) -> None:
    for domain in ("patient", "annotator", "days", "uid"):
        with pytest.raises(CytolineError, match="half a character") as error:
            Pseudonyms(bytes(32)).of(domain, f"Anna{before}{odd}{after}")  # type: ignore[arg-type]
        assert "Anna" not in str(error.value)


def test_a_patient_and_a_slide_cannot_be_mistaken_for_another_pair() -> None:
    with pytest.raises(CytolineError, match="NUL"):
        Pseudonyms(bytes(32)).of("slide", "a\0b\0c")


def test_domains_and_keys_keep_apart() -> None:
    names, others = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
    given_out = [names.of("patient", "7"), names.of("slide", "7"), names.of("file", "7"), names.of("annotator", "7")]
    assert len({*given_out, others.of("patient", "7")}) == 5


def test_a_collision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonyms, "_mac", lambda key, message: "0" * 64)
    names = Pseudonyms(bytes(32))
    names.of("patient", "Anna")
    names.of("patient", "Anna")
    with pytest.raises(CytolineError, match="share the pseudonym"):
        names.of("patient", "Berta")


def test_the_key_is_in_no_representation() -> None:
    names = Pseudonyms(b"secretsecretsecretsecretsecretse")
    names.of("patient", "Anna")
    assert "secret" not in repr(names)
    assert "Anna" not in repr(names)


def test_made_once_private_and_kept(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "elsewhere" / "pseudonym.key"
    assert "made a new" in ensure_key(path, repository)
    key = load_key(path, repository)
    assert path.stat().st_mode & 0o777 == 0o600
    said = ensure_key(path, repository)
    assert "found the" in said
    assert Pseudonyms(key).key_id in said
    assert key.hex() not in said
    assert load_key(path, repository) == key


def test_a_key_inside_the_repository_is_refused(repository: Path) -> None:
    for place in (repository / "pseudonym.key", repository / "data" / ".." / "deep" / "pseudonym.key"):
        with pytest.raises(CytolineError, match="inside the repository"):
            ensure_key(place, repository)
        with pytest.raises(CytolineError, match="inside the repository"):
            load_key(place, repository)
    assert list(repository.iterdir()) == []


def test_a_link_into_the_repository_does_not_help(tmp_path: Path, repository: Path) -> None:
    outside = tmp_path / "pseudonym.key"
    outside.symlink_to(repository / "pseudonym.key")
    with pytest.raises(CytolineError, match="inside the repository"):
        load_key(outside, repository)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, repository: Path, mode: int) -> None:
    path = tmp_path / "pseudonym.key"
    ensure_key(path, repository)
    path.chmod(mode)
    with pytest.raises(CytolineError, match="read by others") as caught:
        load_key(path, repository)
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"00", b"zz" * 32, b"\xff" * 64, b"00" * 33])
def test_a_damaged_key_is_refused(tmp_path: Path, repository: Path, content: bytes) -> None:
    path = tmp_path / "pseudonym.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(CytolineError, match="does not hold"):
        load_key(path, repository)


def test_no_key_is_an_error_that_says_how_to_make_one(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(CytolineError) as caught:
        load_key(tmp_path / "none.key", repository)
    assert "cytoline.pseudonyms" in caught.value.remedy
    assert str(tmp_path) not in str(caught.value)


def test_where_the_key_is(tmp_path: Path) -> None:
    assert key_path({KEY_VARIABLE: str(tmp_path / "k")}) == tmp_path / "k"
    assert key_path({}) == Path(os.path.expanduser("~")) / ".config" / "cytoline" / "pseudonym.key"  # noqa: PTH111
