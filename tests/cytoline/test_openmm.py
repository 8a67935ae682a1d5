"""The stand-in for mmcv's compiled module gives way to a real one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from cytoline import mmcv_ops, openmm

REPOSITORY = Path(__file__).parents[2]


def test_register_gives_the_module_a_spec_and_is_harmless_twice() -> None:
    openmm.register()
    first = sys.modules[openmm.EXTENSION]
    openmm.register()
    assert sys.modules[openmm.EXTENSION] is first
    assert importlib.util.find_spec(openmm.EXTENSION) is first.__spec__
    assert first.nms is mmcv_ops.nms


def test_python_can_inspect_the_stand_in() -> None:
    module = openmm.TorchvisionExtension("mmcv._ext")
    with pytest.raises(AttributeError):
        _ = module.__wrapped__


def test_a_compiled_extension_is_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "mmcv"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_ext.py").write_text("origin = 'compiled'\n", encoding="utf-8")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cytoline import openmm; openmm.register()\n"
        "assert openmm.EXTENSION not in sys.modules and 'torch' not in sys.modules\n"
        "import mmcv._ext; assert mmcv._ext.origin == 'compiled'"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=REPOSITORY, check=True)
