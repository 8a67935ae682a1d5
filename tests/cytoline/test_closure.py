"""The import closure sees every way a module is imported and nothing that is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cytoline.closure import import_closure, stage_file
from cytoline.errors import CytolineError

PROJECT = Path(__file__).resolve().parents[2]

TREE = {
    "cytoline/__init__.py": "",
    "cytoline/a.py": "import json\nfrom cytoline import b\n",
    "cytoline/b.py": "def late():\n    from cytoline.c import thing\n",
    "cytoline/c.py": "thing = 1\nimport importlib\nx = importlib.import_module('cytoline.named')\n",
    "cytoline/named.py": "from . import sibling\n",
    "cytoline/sibling.py": "",
    "cytoline/unused.py": "import cytoline.a\n",
    "cytoline/gate/__init__.py": "from .rules import RULES\n",
    "cytoline/gate/rules.py": "from ..d import D\nRULES = 1\n",
    "cytoline/gate/idle.py": "",
    "cytoline/d.py": "D = 1\nimport cytoline.a  # a circle\n",
    "stages/__init__.py": "",
    "stages/one.py": "import cytoline.a\n",
    "stages/two/__init__.py": "",
    "stages/two/__main__.py": "from stages.two import work\n",
    "stages/two/work.py": "import cytoline.gate\nimport numpy\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, source in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


def closure(project: Path, file: str) -> set[str]:
    return {path.as_posix() for path in import_closure(project / file, project)}


A = {"cytoline/__init__.py", *(f"cytoline/{name}.py" for name in ("a", "b", "c", "named", "sibling"))}


def test_late_relative_and_named_imports_are_followed(project: Path) -> None:
    assert closure(project, "stages/one.py") == {"stages/__init__.py", "stages/one.py", *A}


def test_packages_bring_their_init_but_not_their_idle_modules(project: Path) -> None:
    own = {"stages/__init__.py", *(f"stages/two/{name}.py" for name in ("__init__", "__main__", "work"))}
    gate = {"cytoline/gate/__init__.py", "cytoline/gate/rules.py", "cytoline/d.py"}
    assert closure(project, "stages/two/__main__.py") == own | gate | A


def test_a_file_outside_the_root_comes_back_absolute(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    script = tmp_path_factory.mktemp("elsewhere") / "script.py"
    script.write_text("import cytoline.sibling\n")
    assert import_closure(script, project) == {script, Path("cytoline/__init__.py"), Path("cytoline/sibling.py")}


def test_stage_file_takes_folder_module_and_dotted_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert stage_file(Path("stages/one")) == stage_file(Path("stages.one")) == Path("stages/one.py")
    assert stage_file(Path("stages/two")) == Path("stages/two/__main__.py")
    with pytest.raises(CytolineError, match="no stage"):
        stage_file(Path("stages/three"))


def test_it_finds_what_python_really_loads() -> None:
    """Against the truth: run the import and list the project's files among the loaded modules."""
    code = (
        "import sys, cytoline.memo\n"
        "print(*{m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'cytoline'}, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    loaded = {Path(line).relative_to(PROJECT) for line in done.stdout.split()}
    assert loaded
    assert loaded <= import_closure(PROJECT / "cytoline/memo.py", PROJECT)


def test_the_command_prints_deps(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cytoline.closure", "stages/one"],
        cwd=project,
        env={"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == sorted({"stages/__init__.py", "stages/one.py", *A})
