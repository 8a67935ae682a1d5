"""What dvc.yaml declares is what the code does: every import, every param, nothing private pushed."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cytoline.closure import import_closure, stage_file

ROOT = Path(__file__).parents[1]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
WRITTEN = (ROOT / "dvc.yaml").read_text(encoding="utf-8").replace("${taxonomy}", PARAMS["taxonomy"])
STAGES: dict[str, dict[str, Any]] = yaml.safe_load(WRITTEN)["stages"]
LOCK = "requirements.lock"

WHERE_NOT_WHAT = {"compute.scheduler", "compute.workers"}
"""Params that say where work runs and cannot change a byte of what comes out: no stage reruns for them."""

THREADS = "compute.threads"
"""PyTorch's threads change last digits, so it counts, but only for stages whose code hands it to PyTorch."""

PRIVATE = ("data/raw", "data/quarantine")
"""Outs that may identify a person."""


@functools.cache
def closure_of(stage: str) -> frozenset[Path]:
    return frozenset(import_closure(ROOT / stage_file(ROOT / "stages" / stage), ROOT))


def listed(stage: str, key: str) -> dict[str, dict[str, Any]]:
    """A stage's deps or outs as path -> options."""
    rows = STAGES[stage].get(key, [])
    return {next(iter(row)): next(iter(row.values())) or {} for row in map(as_mapping, rows)}


def as_mapping(row: str | dict[str, Any]) -> dict[str, Any]:
    return row if isinstance(row, dict) else {row: {}}


def declared_params(stage: str) -> set[str]:
    rows = STAGES[stage].get("params", [])
    assert all(isinstance(row, str) for row in rows), "params come from params.yaml alone"
    return set(rows)


def trees(files: Iterable[Path]) -> list[ast.Module]:
    return [tree_of(path) for path in sorted(files)]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_bytes())


def params_classes(modules: list[ast.Module]) -> dict[str, tuple[str, list[str]]]:
    """Class name -> (prefix, fields, inherited ones too) of every ``class X(..., prefix="...")``."""
    classes = {node.name: node for tree in modules for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}

    def fields(node: ast.ClassDef) -> set[str]:
        own = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}  # type: ignore[union-attr]
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        # ``Params`` itself has class variables only.
        return own.union(*(fields(classes[base]) for base in bases if base in classes and base != "Params"))

    found = {}
    for node in classes.values():
        prefix = next((k.value.value for k in node.keywords if k.arg == "prefix"), None)  # type: ignore[attr-defined]
        if prefix:
            found[node.name] = (prefix, sorted(fields(node)))
    return found


@functools.cache
def used_leaves(stage: str) -> frozenset[str]:
    """The leaves below every Params class whose ``load`` the stage's code mentions, and the plain keys it reads."""
    modules = trees(closure_of(stage))
    nodes = [node for tree in modules for node in ast.walk(tree)]
    loaded = {
        node.value.id
        for node in nodes
        if isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name)
    }
    leaves = {
        f"{prefix}.{field}"
        for name, (prefix, fields) in params_classes(modules).items()
        for field in fields
        if name in loaded
    }
    if not any(isinstance(node, ast.Attribute) and node.attr == "threads" for node in nodes):
        leaves.discard(THREADS)
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return frozenset(leaves) | {
        key for key, name in {"seed": "load_seed", "taxonomy": "load_taxonomy_name"}.items() if name in called
    }


@pytest.mark.parametrize("stage", STAGES)
def test_deps_hold_every_module_that_the_stage_runs(stage: str) -> None:
    deps = [Path(path) for path in listed(stage, "deps")]
    missing = [
        path.as_posix()
        for path in sorted(closure_of(stage))
        if not any(path == dep or path.is_relative_to(dep) for dep in deps)
    ]
    assert missing == [], f"add them to the deps of {stage} (`python -m cytoline.closure stages/{stage}` lists all)"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_hold_every_other_file_beside_those_modules(stage: str) -> None:
    """A page template, a table of names: whatever lies in a room or package can be read by its modules."""
    rooms = {path.parent for path in closure_of(stage)} - {Path("stages"), Path("cytoline")}
    deps = [Path(path) for path in listed(stage, "deps")]
    missing = [
        path.relative_to(ROOT).as_posix()
        for room in sorted(rooms)
        for path in tracked(room.as_posix())
        if path.suffix != ".py" and not any(path.is_relative_to(ROOT / dep) for dep in deps)
    ]
    assert missing == []


@pytest.mark.parametrize("stage", STAGES)
def test_deps_hold_no_module_that_the_stage_does_not_run(stage: str) -> None:
    needless = [
        path
        for path in listed(stage, "deps")
        if path.endswith(".py") and Path(path) not in closure_of(stage) and path.split("/")[0] in ("cytoline", "stages")
    ]
    assert needless == [], "these would rerun the stage for nothing"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_hold_the_lock_file(stage: str) -> None:
    assert LOCK in listed(stage, "deps")


@pytest.mark.parametrize("stage", STAGES)
def test_deps_exist_or_are_made_by_a_stage(stage: str) -> None:
    made = {path for name in STAGES for key in ("outs", "metrics", "plots") for path in listed(name, key)}
    stray = [
        path
        for path in listed(stage, "deps")
        if not (ROOT / path).exists() and not any(Path(path).is_relative_to(out) for out in made)
    ]
    assert stray == []


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_leaves_that_the_code_reads(stage: str) -> None:
    declared = {key for key in declared_params(stage) if key.split(".")[0] not in ("profile", "profiles")}
    used = used_leaves(stage)
    assert declared - used == set(), "declared but not read"
    assert used - declared - WHERE_NOT_WHAT == set(), "read but not declared"
    assert declared & WHERE_NOT_WHAT == set(), "these would rerun the stage for nothing"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_whose_section_a_profile_changes_declares_the_profile(stage: str) -> None:
    sections = {key.split(".")[0] for key in used_leaves(stage)}
    changed = {section for profile in PARAMS["profiles"].values() for section in (profile or {})}
    declared = declared_params(stage)
    if sections & changed:
        assert "profile" in declared
        assert any(key.split(".")[0] == "profiles" for key in declared)


@pytest.mark.parametrize("stage", STAGES)
def test_every_declared_param_is_there(stage: str) -> None:
    for key in declared_params(stage):
        value = PARAMS
        for part in key.split("."):
            assert isinstance(value, dict), key
            assert part in value, f"{key} is not in params.yaml"
            value = value[part]


@pytest.mark.parametrize("stage", STAGES)
def test_stages_say_what_they_do(stage: str) -> None:
    assert len(STAGES[stage].get("desc", "").split()) >= 3


def test_only_evaluate_has_outs_outside_the_cache() -> None:
    uncached = {
        stage
        for stage in STAGES
        for key in ("outs", "metrics", "plots")
        for options in listed(stage, key).values()
        if options.get("cache") is False
    }
    assert uncached == {"evaluate"}


def test_what_may_identify_a_person_is_never_pushed() -> None:
    pushed = {path: options.get("push", True) for stage in STAGES for path, options in listed(stage, "outs").items()}
    assert [pushed[path] for path in PRIVATE] == [False, False]
    for pointer in (ROOT / "data/incoming").rglob("*.dvc"):
        outs = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
        assert all(out.get("push") is False or "remote" in out for out in outs), pointer.name


def test_no_stage_keeps_its_out_between_runs() -> None:
    kept = [path for stage in STAGES for path, options in listed(stage, "outs").items() if options.get("persist")]
    assert kept == [], "persist disables the run-cache and keeps stale files"


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_another(stage: str) -> None:
    rooms = {path.parts[1].removesuffix(".py") for path in closure_of(stage) if path.parts[0] == "stages"}
    assert rooms - {"__init__", stage} == set()


def test_the_shared_code_imports_no_stage(tmp_path: Path) -> None:
    """One module that imports all of them reaches what any of them reaches, and is read in one go."""
    shared = sorted((ROOT / "cytoline").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in shared]
    everything = tmp_path / "everything.py"
    everything.write_text("".join(f"import {name}\n" for name in names), encoding="utf-8")
    reached = import_closure(everything, ROOT)
    assert {path.relative_to(ROOT) for path in shared} <= reached
    assert sorted(path.as_posix() for path in reached if path.parts[0] == "stages") == []


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    try:
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git work tree")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def pickles(tree: ast.Module) -> list[int]:
    """Lines that could read or write a pickle, or run what a YAML file says."""
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    guilty = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            if {name.split(".")[0] for name in names} & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}:
                guilty.append(node.lineno)
        elif isinstance(node, ast.Call):
            text = ast.unparse(node)
            unsafe = text.startswith("torch.save(") or "allow_pickle=True" in text or "shell=True" in text
            unsafe |= text.startswith("torch.load(") and "weights_only=True" not in text
            unsafe |= text.startswith("yaml.load(") and "yaml" in imported
            if unsafe:
                guilty.append(node.lineno)
    return guilty


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import pickle", 1),
        ("from joblib import load", 1),
        ("torch.load(path)", 1),
        ("np.load(path, allow_pickle=True)", 1),
        ("import yaml; yaml.load(text)", 1),
        ("torch.load(path, weights_only=True)", 0),
        ("import yaml; yaml.safe_load(text)", 0),
    ],
)
def test_the_search_for_pickles_finds_them(line: str, found: int) -> None:
    assert len(pickles(ast.parse(line))) == found


def test_nothing_reads_or_writes_pickle() -> None:
    guilty = {
        path.relative_to(ROOT).as_posix(): lines
        for path in tracked("stages/**.py", "cytoline/**.py", "configs/**.py")
        if (lines := pickles(ast.parse(path.read_bytes())))
    }
    assert guilty == {}


def test_no_file_names_a_place_on_someones_machine() -> None:
    places = re.compile(r"(?<![\w.])/(home|root|Users|work|opt/pypi)/[\w.-]+|[\w.]+/simple/?\b.*index-url")
    guilty = []
    for path in tracked():
        if path.suffix in (".png", ".jpg", ".safetensors", ".ico"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if places.search(line):
                guilty.append(f"{path.relative_to(ROOT)}:{number}")
    assert guilty == []
