"""De-identification against its answer key: what is left behind, what is found, what is altered, how long it takes.

    python -m benchmarks.deid                          everything but fuzzing (half an hour on two cores)
    python -m benchmarks.deid --only places,study      some parts; the other figures stay as they were
    python -m benchmarks.deid --peers                  also other de-identifiers, on the same files in the same run
    python -m benchmarks.deid --only fuzz              fuzzing: see benchmarks/deid/fuzz.py

Figures go to benchmarks/results/deid.json.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.deid import fuzz, peers, speed, study, writing
from benchmarks.deid.cases import PARTS, Case, Part, generate, hidden, removed, retained
from benchmarks.deid.score import Action, Row, share, table
from benchmarks.result import Figure, current_commit, record
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.deid.folder import Made, deidentify_file
from cytoline.deid.identity import Identity
from cytoline.deid.params import AnonymizeParams
from cytoline.errors import CytolineError
from cytoline.progress import track
from cytoline.pseudonyms import Pseudonyms

_KEY = bytes(range(32))
"""Known, so that runs can be compared.  There is nobody to protect."""

MEASURED: dict[str, Callable[[Path], list[Figure]]] = {
    "ocr": speed.ocr,
    "jpeg": speed.jpeg_route,
    "gigapixel": speed.gigapixel,
}
"""Parts that measure time and memory."""
FUZZ = "fuzz"
"""Takes an hour: only where it is asked for."""


@dataclass(frozen=True)
class Done:
    """One case after we worked on it: where the result lies, and what was said of each of its files."""

    case: Case
    output: Path
    made: tuple[Made, ...]

    @property
    def image(self) -> Path | None:
        """The new picture of a case with one."""
        return next((path for path in sorted(self.output.iterdir()) if path.is_file()), None)

    @property
    def reasons(self) -> set[str]:
        """Why files were withheld."""
        return {made.reason for made in self.made if made.reason}


def work(cases: Sequence[Case], folder: Path, params: AnonymizeParams, pool: Executor) -> list[Done]:
    """Make every file of every case anew; cases that share an input share the result."""
    identity = Identity(Pseudonyms(_KEY))
    inputs = list(dict.fromkeys(case.input for case in cases))
    outputs = {source: folder / f"{number:04d}" for number, source in enumerate(inputs)}
    jobs = {}
    for source, output in outputs.items():
        output.mkdir(parents=True)
        files = sorted(path for path in source.rglob("*") if path.is_file() or path.is_symlink())
        names = [identity.pseudonym("file", f"{output.name}-{number}") for number in range(len(files))]
        jobs[source] = [
            pool.submit(deidentify_file, path, output, name, identity, params)
            for path, name in zip(files, names, strict=True)
        ]
    made = {source: tuple(job.result() for job in jobs[source]) for source in track(inputs, len(inputs), "ours")}
    return [Done(case, outputs[case.input], made[case.input]) for case in cases]


def score_places(done: Sequence[Done]) -> tuple[list[Figure], list[Row]]:
    """Canaries that survive."""
    rows = [removed(item.case, item.output) for item in done]
    left = [row for row in rows if not row.passed]
    withheld = sum(row.withheld for row in rows)
    how = f"{withheld} of the files withheld; " + (", ".join(row.case for row in left[:8]) or "none is left")
    return [
        Figure("canaries_left", len(left), "canaries", 0, "<=", len(rows), how),
        Figure("canary_places", len({row.case for row in rows}), "places", 90, ">=", len(rows), "named hiding places"),
    ], rows


def score_text(done: Sequence[Done]) -> tuple[list[Figure], list[Row]]:
    """Burned-in text by condition; a page that is withheld hides its texts, and is counted beside."""
    rows = {item.case: hidden(item.case, item.image) for item in done}
    groups = sorted({case.group for case in rows})
    figures = []
    for group in groups:
        own = [row for case, row in rows.items() if case.group == group]
        withheld = sum(row.withheld for row in own)
        name = f"text_found_{group.partition('/')[2].replace('-', '_')}"
        how = f"at least 95 % of the ink hidden; {withheld} withheld"
        figures.append(Figure(name, share(own), "share", None, "", len(own), how))
    strong = [row for case, row in rows.items() if _contrast(case) >= 40]
    weak = [row for case, row in rows.items() if _contrast(case) == 25]
    figures += [
        Figure(
            "text_found_40plus", share(strong), "share", 1.0, ">=", len(strong), "contrast of 40 grey levels and more"
        ),
        Figure("text_found_25", share(weak), "share", 0.75, ">=", len(weak), "25 grey levels"),
    ]
    return figures, list(rows.values())


def score_large(done: Sequence[Done]) -> tuple[list[Figure], list[Row]]:
    """The same writing on fields that are larger than the reader takes at once."""
    rows = {item.case: hidden(item.case, item.image) for item in done}
    strong = [row for case, row in rows.items() if _contrast(case) >= 40]
    how = f"fields of {' x '.join(map(str, writing.LARGE_SIZE))}; contrast of 40 grey levels and more"
    return [Figure("text_found_large", share(strong), "share", 1.0, ">=", len(strong), how)], list(rows.values())


def _contrast(case: Case) -> int:
    """Grey levels between text and ground, from the name of the condition; ink, plates and bars are far above 40.

    The watermark lightens by 35 % of what is missing to white: 20 to 35 levels on these fields, below 40 at any rate.
    """
    if case.group.endswith("/watermark"):
        return 30
    digits = [int(part) for part in case.group.partition("/")[2].split("-") if part.isdigit()]
    return digits[-1] if "contrast" in case.group and digits else 255


def score_barcodes(done: Sequence[Done]) -> tuple[list[Figure], list[Row]]:
    """Readable codes are gone; unreadable ones are withheld, or gone."""
    rows = {item.case: hidden(item.case, item.image) for item in done}
    readable = [row for case, row in rows.items() if case.readable]
    unreadable = [row for case, row in rows.items() if not case.readable]
    kept = sum(row.withheld for row in unreadable)
    return [
        Figure("barcode_found", share(readable), "share", 1.0, ">=", len(readable), "codes that a reader reads"),
        Figure(
            "barcode_quarantined",
            share(unreadable),
            "share",
            1.0,
            ">=",
            len(unreadable),
            f"blurred or turned codes that it does not read: {kept} kept back, the others read after all and hidden",
        ),
    ], list(rows.values())


def score_clean(done: Sequence[Done]) -> tuple[list[Figure], list[Row]]:
    """Fields without text or codes come through as they were."""
    rows = [retained(item.case, item.image) for item in done]
    altered = sum(not row.passed for row in rows[:20])
    alarms = sum("barcode_like" in item.reasons for item in done)
    return [
        Figure("clean_altered", altered, "fields", 0, "<=", len(rows[:20]), "clean fields changed or kept back"),
        Figure("barcode_false", alarms, "fields", 0, "<=", len(rows), "clean fields kept back for a barcode"),
    ], rows


def score_study(done: Sequence[Done]) -> tuple[list[Figure], list[Row]]:
    """Two patients' DICOM studies."""
    return [], [row for item in done for row in study.judge(item.output)]


SCORED: dict[Part, Callable[[Sequence[Done]], tuple[list[Figure], list[Row]]]] = {
    "places": score_places,
    "text": score_text,
    "large": score_large,
    "barcodes": score_barcodes,
    "clean": score_clean,
    "study": score_study,
}


def ours(parts: Sequence[Part], folder: Path, console: Console) -> list[Figure]:
    """All scored parts."""
    params = AnonymizeParams.load()
    figures: list[Figure] = []
    rows: list[Row] = []
    with worker_pool(ComputeParams.load()) as pool:
        for part in parts:
            console.print(f"[bold]{part}[/]")
            cases = generate(folder / part, [part])
            made, own = SCORED[part](work(cases, folder / "ours" / part, params, pool))
            figures += made
            rows += own
            for row in [row for row in own if not row.passed][:30]:
                console.print(f"  not done: {row.case} ({row.action})", markup=False)
    console.print(table(rows), markup=False)
    planted = [row for row in rows if row.action is not Action.PIXELS_HIDDEN]
    if {"places", "study", "clean"} <= set(parts):
        how = "all actions but burned-in text and barcodes, which have figures of their own"
        figures.append(Figure("action_score", share(planted), "share", 1.0, ">=", len(planted), how))
    return figures


def beside(folder: Path, console: Console) -> list[Figure]:
    """Other de-identifiers on the hiding places: what each leaves behind of the formats that it claims."""
    figures = []
    cases = generate(folder / "peers-input", ["places"])
    for peer in peers.PEERS:
        installed = peers.install(peer, folder / "peers")
        slug = peer.name.split()[0].replace("-", "_").lower()
        own = [case for case in cases if case.group in peer.groups]
        if installed.not_run:
            figures.append(Figure(f"canaries_left_{slug}", None, "canaries", None, "", 0, installed.not_run))
            continue
        rows, failed = [], 0
        for number, case in enumerate(track(own, len(own), peer.name)):
            outcome = peers.run(installed, case.input, folder / "peers-output" / slug / f"{number:04d}")
            row = removed(case, outcome.output)
            if row.withheld and not outcome.ended_well:
                failed += 1
            else:
                rows.append(row)
        left = sum(not row.passed for row in rows) if rows else None
        withheld = sum(row.withheld for row in rows)
        how = f"{peer.name} {installed.version}; {withheld} without a result; {failed} in which it failed do not count"
        figures.append(Figure(f"canaries_left_{slug}", left, "canaries", None, "", len(rows), how))
    console.print("[dim]peers are judged only by the formats that they claim[/]")
    return figures


def main(
    only: Annotated[str, typer.Option(help=f"some of {','.join([*PARTS, *MEASURED, FUZZ])}")] = "",
    with_peers: Annotated[bool, typer.Option("--peers", help="also run other de-identifiers (installs them)")] = False,
    work_folder: Annotated[Path | None, typer.Option("--work", help="keep inputs and results in this folder")] = None,
    fuzz_cases: Annotated[int, typer.Option(min=1, help="mutated files of each format")] = fuzz.CASES,
    fuzz_only: Annotated[str, typer.Option("--fuzz", help="these cases again, FORMAT/NUMBER,...")] = "",
) -> None:
    """Measure de-identification against the answer key."""
    chosen = only.split(",") if only else [*PARTS, *MEASURED]
    if unknown := sorted(set(chosen) - {*PARTS, *MEASURED, FUZZ}):
        raise CytolineError(
            f"there is no part {', '.join(unknown)}", f"parts are {', '.join([*PARTS, *MEASURED, FUZZ])}"
        )
    console, commit = Console(highlight=False, soft_wrap=True), current_commit()
    with tempfile.TemporaryDirectory() as temporary:
        folder = work_folder or Path(temporary)
        if fuzz_only:
            fuzz.again(fuzz_only, folder, console)
            return
        parts = [part for part in PARTS if part in chosen]
        figures = ours(parts, folder, console) if parts else []
        for name, measure in MEASURED.items():
            if name in chosen:
                figures += measure(folder)
        if FUZZ in chosen:
            figures += fuzz.fuzz(folder, console, fuzz_cases)
        if with_peers:
            figures += beside(folder, console)
    record("deid", figures, commit)


if __name__ == "__main__":
    run(main)
