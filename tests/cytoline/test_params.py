"""params.yaml: what is wrong is refused by its full name; a profile changes what it may and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from cytoline.errors import CytolineError
from cytoline.params import Params, load_seed, load_taxonomy_name


class DetectorLike(Params, prefix="detector"):
    """Two leaves are enough."""

    epochs: Annotated[int, Field(ge=1)]
    config: str


GOOD: dict[str, Any] = {
    "seed": 3,
    "taxonomy": "blood",
    "profile": "cpu",
    "profiles": {"cpu": {}, "gpu": {"detector": {"epochs": 60}}},
    "detector": {"epochs": 5, "config": "a"},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}), encoding="utf-8")
    return path


def test_what_is_right_is_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert DetectorLike.load(path).epochs == 5
    assert load_seed(path) == 3
    assert load_taxonomy_name(path) == "blood"


def test_a_profile_is_laid_over_its_section(tmp_path: Path) -> None:
    params = DetectorLike.load(written(tmp_path, profile="gpu"))
    assert (params.epochs, params.config) == (60, "a")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"detector": {"epochs": 5, "config": "a", "epoch": 1}}, "detector.epoch is unknown"),
        ({"detector": {"epochs": 5}}, "detector.config is missing"),
        ({"detector": {"epochs": "five", "config": "a"}}, "detector.epochs is 'five'"),
        ({"detector": {"epochs": 0, "config": "a"}}, "detector.epochs is 0"),
        ({"detector": None}, "section `detector` is missing"),
        ({"detectr": {}}, "unknown keys detectr"),
        ({"profile": "tpu"}, "profile 'tpu' is not defined"),
        ({"profile": "x", "profiles": {"x": {"split": {"train": 1}}}}, "sets split"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(CytolineError) as caught:
        DetectorLike.load(written(tmp_path, **changes))
    assert named in caught.value.cause


@pytest.mark.parametrize("seed", [-1, "x", True, None])
def test_a_seed_is_a_whole_number(tmp_path: Path, seed: object) -> None:
    with pytest.raises(CytolineError, match="seed"):
        load_seed(written(tmp_path, seed=seed))


def test_a_missing_or_broken_file_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CytolineError, match="is missing"):
        DetectorLike.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1\nb: 2", encoding="utf-8")
    with pytest.raises(CytolineError, match="not valid YAML at line"):
        DetectorLike.load(tmp_path / "params.yaml")
