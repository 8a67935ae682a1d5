"""A judge that hangs, dies, sleeps or takes memory, by the number of the case.  Alone, so that it is quick to start."""

from __future__ import annotations

import os
import time

from benchmarks.deid.fuzz_case import Case, Verdict


class Misbehaving:
    """Answers even numbers, and does what the number says for others."""

    def __call__(self, case: Case) -> Verdict:
        if case.number == 1:
            os.abort()
        if case.number == 3:
            while True:  # works without end
                pass
        if case.number == 5:
            time.sleep(1000)
        if case.number == 7:
            bytearray(1 << 31)
        return Verdict("passed", "image", 0.0)

    def at_end(self) -> dict[Case, Verdict]:
        return {Case("png", 0): Verdict("failed", "late", 0.0)}


class Broken(Misbehaving):
    """Does not come up."""

    def __init__(self) -> None:
        raise SystemExit(3)
