"""Fuzzing: mutated files of each format through ``deidentify_file``; whatever comes out goes to the verifier.

    python -m benchmarks.deid --only fuzz                                20,000 of each format
    python -m benchmarks.deid --only fuzz --fuzz-cases 300               fewer
    python -m benchmarks.deid --fuzz jpeg/17,dicom-wsi/4                 these alone, without a figure
    python -m benchmarks.deid --only fuzz --work FOLDER                  failing files are kept in FOLDER/fuzz

A failure is an exception, a dead process, more than 5 seconds or a gigabyte, a file that the verifier does not pass, a
canary in an output or in a library's warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.deid.fuzz_case import FORMATS, OUTCOMES, Case, Verdict
from benchmarks.deid.fuzz_judge import Judge
from benchmarks.deid.fuzz_mutations import mutated
from benchmarks.deid.fuzz_watch import judged
from benchmarks.result import Figure
from cytoline.compute import ComputeParams, core_count
from cytoline.errors import CytolineError
from cytoline.progress import Bar

CASES = 20_000
BATCH = 1000
_SHOWN = 30


def fuzz(folder: Path, console: Console, cases: int = CASES) -> list[Figure]:
    """``fuzz_failures``, and beside it ``fuzz_in_pixels``: what a splice carried into the samples themselves."""
    batches = [
        [Case(fmt, number) for number in range(start, min(start + BATCH, cases))]
        for fmt in FORMATS
        for start in range(0, cases, BATCH)
    ]
    verdicts = _all(batches, folder / "fuzz", console)
    console.print(_table(verdicts), markup=False)
    failures = [case for case, verdict in verdicts.items() if verdict.outcome == "failed"]
    passed = Counter(case.format for case, verdict in verdicts.items() if verdict.outcome == "passed")
    counts = Counter(case.format for case in verdicts)
    moved = sum(verdict.outcome == "in_pixels" for verdict in verdicts.values())
    how = ", ".join(f"{fmt} {counts[fmt]} ({passed[fmt]} passed)" for fmt in FORMATS)
    pixels = "a splice laid a canary where samples are stored: noise in the picture, which a search of the bytes finds"
    return [
        Figure("fuzz_failures", len(failures), "files", 0, "<=", len(verdicts), f"mutated files: {how}"),
        Figure("fuzz_in_pixels", moved, "files", None, "", len(verdicts), f"not among the failures: {pixels}"),
    ]


def again(names: str, folder: Path, console: Console) -> None:
    """Some cases once more, ``format/number`` each; what each comes to is printed."""
    for case, verdict in _all([parsed(names)], folder / "fuzz", console).items():
        seed, content = mutated(*case)
        told = f"{case.format}/{case.number} of {seed.name}, {len(content)} bytes: {verdict.outcome}, {verdict.what}"
        console.print(f"{told}, {verdict.seconds:.3f} s", markup=False)


def parsed(names: str) -> list[Case]:
    """Raises ``CytolineError``."""
    cases = []
    for name in names.split(","):
        fmt, _, number = name.strip().partition("/")
        known = next((one for one in FORMATS if one == fmt), None)
        if known is None or not number.isdecimal():
            raise CytolineError("a fuzzing case is FORMAT/NUMBER", f"formats are {', '.join(FORMATS)}")
        cases.append(Case(known, int(number)))
    return cases


def _all(batches: Sequence[list[Case]], kept: Path, console: Console) -> dict[Case, Verdict]:
    verdicts: dict[Case, Verdict] = {}
    failed = shown = 0
    with Bar(sum(map(len, batches)), "fuzzing") as bar:
        for case, verdict in judged(batches, Judge, ComputeParams.load().workers or core_count()):
            if verdict.outcome == "failed":
                failed += 1
                _keep(case, kept)
                if (shown := shown + 1) <= _SHOWN:
                    console.print(f"  {case.format}/{case.number}: {verdict.what}", markup=False)
            if case not in verdicts:
                bar.advance(1, failed=failed)
            verdicts[case] = verdict
    return verdicts


def _keep(case: Case, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case.format}-{case.number}").write_bytes(mutated(*case)[1])


def _table(verdicts: dict[Case, Verdict]) -> Table:
    table = Table(
        "format", "cases", "passed", "refused", "in pixels", "failed", "CPU s", "slowest", "reasons", title="fuzzing"
    )
    for fmt in FORMATS:
        cases = {case: verdict for case, verdict in verdicts.items() if case.format == fmt}
        own = list(cases.values())
        slowest = max(cases.items(), key=lambda item: item[1].seconds, default=None)
        outcomes = Counter(verdict.outcome for verdict in own)
        reasons = Counter(verdict.what for verdict in own if verdict.outcome == "refused")
        table.add_row(
            fmt,
            *map(str, (len(own), *(outcomes[one] for one in OUTCOMES))),
            f"{sum(verdict.seconds for verdict in own):.1f}",
            f"{slowest[1].seconds:.2f} (case {slowest[0].number})" if slowest else "",
            ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()),
        )
    return table
