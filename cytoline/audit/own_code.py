"""Whether the code that judges is the code of the commit: whoever changes the gate or this verification says so.

A note and no broken link: code under work is no forgery, and a verification that was tampered with would not say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import cytoline
from cytoline.audit.finding import Report
from cytoline.audit.links import link_in
from cytoline.audit.repository import blob_id, filtered_id

PACKAGE = "cytoline/"
_NAMED = 3


def note_own_code(tree: Mapping[str, str], top: Path, report: Report) -> None:
    """Compare the package ``cytoline`` of the work tree, and the one that runs now, with the commit's ``tree``."""
    committed = {path: name for path, name in tree.items() if path.startswith(PACKAGE)}
    if not committed:
        return
    broken = {finding.file for finding in report.findings}
    # What stages depend on has been compared already, and is a broken link where it differs.
    _note(report, "cytoline's own code is not what the commit holds", set(_differing(committed, top, top)) - broken)
    running = Path(cytoline.__file__).resolve().parent
    if running != (top / PACKAGE).resolve():
        words = "the cytoline that verifies now is not the one of the commit"
        _note(report, words, set(_differing(committed, running.parent, None)))


def _note(report: Report, words: str, files: set[str]) -> None:
    if files:
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        report.notes.append(f"{words}: {', '.join(sorted(files)[:_NAMED])}{more}")


def _differing(committed: Mapping[str, str], root: Path, repository: Path | None) -> Iterator[str]:
    """Files that are changed, gone or new below ``root``; git's filters count where it is the work tree."""
    for path, name in committed.items():
        try:
            content = b"" if link_in(root, path) else (root / path).read_bytes()
        except OSError:
            yield path
            continue
        if blob_id(content, name) != name and (repository is None or filtered_id(repository, path) != name):
            yield path
    new = (file.relative_to(root).as_posix() for file in (root / PACKAGE).rglob("*.py"))
    yield from (path for path in new if path not in committed)
