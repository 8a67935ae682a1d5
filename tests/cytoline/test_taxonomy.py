"""Taxonomies: labels mean classes, unknown ones are listed, shipped files are sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoline.errors import CytolineError
from cytoline.taxonomy import TAXONOMIES, Taxonomy


@pytest.mark.parametrize("path", sorted(TAXONOMIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_taxonomy_is_sound(path: Path) -> None:
    taxonomy = Taxonomy.load(path.stem)
    assert taxonomy.name == path.stem
    assert [taxonomy.find(name) for name in taxonomy.classes] == list(taxonomy.classes)


def test_aliases_and_case_are_understood() -> None:
    taxonomy = Taxonomy.load("bethesda")
    assert taxonomy.find(" asc-us ") == "LSIL"
    assert taxonomy.find("nilm") == "NILM"
    assert taxonomy.find("AGC") is None


def test_every_unknown_label_is_listed_with_its_count() -> None:
    with pytest.raises(CytolineError) as caught:
        Taxonomy.load("bethesda").require(["NILM", "HSLI", "AGC", "HSLI"], "here")
    assert "'AGC' x1, 'HSLI' x2" in caught.value.cause
    assert "NILM" not in caught.value.cause


@pytest.mark.parametrize("name", ["../params", "none", ""])
def test_a_name_that_is_no_taxonomy_is_refused(name: str) -> None:
    with pytest.raises(CytolineError, match="no taxonomy"):
        Taxonomy.load(name)


@pytest.mark.parametrize(
    "change", [("abnormal: [LSIL, HSIL, SCC]", "abnormal: [LSIK]"), ("NILM, LSIL, HSIL, SCC", "NILM, NILM, HSIL, SCC")]
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    text = (TAXONOMIES / "bethesda.yaml").read_text(encoding="utf-8")
    (tmp_path / "x.yaml").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(CytolineError, match=r"x\.yaml"):
        Taxonomy.load("x", tmp_path)
