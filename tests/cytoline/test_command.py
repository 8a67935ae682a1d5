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


def wait_until_it_loads(process: subprocess.Popen[str]) -> None:
    """Until the stage has set what Ctrl-C does.  Before that Python itself starts, which nobody can make quieter.

    Python takes the signal over when it starts; the stage gives it back before it imports anything.
    """
    taken = False
    for _ in range(3000):
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return  # it has ended, or this is no Linux
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
        holds = bool(caught & 1 << (signal.SIGINT - 1))
        if taken and not holds:
            return
        taken |= holds
        time.sleep(0.005)


@pytest.mark.parametrize("seconds", [0.0, 0.5])
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_while_libraries_load(stage: str, seconds: float) -> None:
    process = start("-m", f"stages.{stage}")
    wait_until_it_loads(process)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert "Traceback" not in text
    # Killed by the signal, or so quick that it had already complained about missing options.
    assert process.returncode in (-signal.SIGINT, 2, 130), text


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_once_it_runs_ctrl_c_and_the_end_of_a_build_server_unwind_it(ending: signal.Signals) -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # as while libraries load
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
    process.send_signal(ending)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "put right" in text
    assert "interrupted" in text
    assert "Traceback" not in text


def test_a_forked_child_that_is_ended_simply_ends() -> None:
    """Process pools end their workers with SIGTERM; one that unwound instead kept its pool waiting."""
    program = (
        "from cytoline.command import run\n"
        "import os, signal, time\n"
        "def main():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        try:\n"
        "            time.sleep(30)\n"
        "        finally:\n"
        "            print('unwound', flush=True)\n"
        "    time.sleep(0.3)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)\n"
        "run(main)\n"
    )
    text, _ = start("-c", program).communicate(timeout=60)
    assert text == f"{int(signal.SIGTERM)}\n"
