"""One program at a time, and none that waits for a dead one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cytoline.deid.locking import locked
from cytoline.errors import CytolineError

HOLD = """
import sys, time
from pathlib import Path
from cytoline.deid.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_program_is_kept_out_until_it_ends_or_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CytolineError, match="another program is writing out"), locked(place):
            pass
        holder.kill()
        holder.wait()
    with locked(place):
        pass
    assert list(tmp_path.iterdir()) == []
