"""How a stage's program ends: Ctrl-C at any moment shows no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAGES = ("collect", "augment", "train_detector", "report")


def heed_interrupts() -> None:
    """Test runners may be started deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        preexec_fn=heed_interrupts,
    )


@pytest.mark.parametrize("seconds", [0.2, 0.7])
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_while_libraries_load(stage: str, seconds: float) -> None:
    process = start("-m", f"stages.{stage}")
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert "Traceback" not in text
    # Killed by the signal, or so quick that it had already complained about missing options.
    assert process.returncode in (-signal.SIGINT, 2, 130), text


def test_after_loading_an_interrupt_unwinds() -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "from cytoline.command import run\n"
        "import time\n"
        "def main():\n"
        "    try:\n"
        "        print('working', flush=True); time.sleep(30)\n"
        "    finally:\n"
        "        print('put right', flush=True)\n"
        "run(main)\n"
    )
    process = start("-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "put right" in text
    assert "interrupted" in text
    assert "Traceback" not in text


def test_the_end_that_a_build_server_sends_unwinds_too() -> None:
    program = (
        "from cytoline.command import run\n"
        "import time\n"
        "def main():\n"
        "    try:\n"
        "        print('working', flush=True); time.sleep(30)\n"
        "    finally:\n"
        "        print('put right', flush=True)\n"
        "run(main)\n"
    )
    process = start("-c", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.terminate()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "put right" in text
