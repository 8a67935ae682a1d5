"""What verification says: links that are broken, each with its file and place, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal[
    "lock", "image", "manifest", "model", "metric", "log", "approval", "seal", "data", "cache", "code", "package"
]
KINDS: tuple[Kind, ...] = (
    "lock",
    "image",
    "manifest",
    "model",
    "metric",
    "log",
    "approval",
    "seal",
    "data",
    "cache",
    "code",
    "package",
)
APPROVALS = "approvals/approvals.jsonl"
SEALS = "approvals/seals.jsonl"
PROMOTIONS = "approvals/promotions.jsonl"
DECISIONS = "data/review/decisions.jsonl"
INCOMING = "data/incoming"
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".dcm", ".svs", ".ndpi")
_TABLES = ("manifest.jsonl", "split.jsonl")


@dataclass(frozen=True)
class Finding:
    """One broken link.  ``file`` is relative to the project; ``place`` a row, line, tensor or byte in it, or empty."""

    kind: Kind
    file: str
    place: str
    what: str


@dataclass
class Report:
    """The whole answer.  ``notes`` and ``absent`` (outs that are not here) are no faults of their own."""

    commit: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    files: int = 0
    size: int = 0
    """Files and bytes that were hashed, each byte once."""
    seals: int = 0

    @property
    def passed(self) -> bool:
        """Nothing is broken."""
        return not self.findings

    def names(self, file: str) -> bool:
        """Whether something is broken in ``file``."""
        return any(finding.file == file for finding in self.findings)

    def add(self, file: str, what: str, place: str = "", kind: Kind | None = None) -> None:
        """Add a finding; its kind follows from the file."""
        self.findings.append(Finding(kind or kind_of(file), file, place, what))


def kind_of(path: str) -> Kind:
    """Which link of the chain a file of the project is."""
    parts = PurePosixPath(path)
    if path == "dvc.lock" or parts.suffix == ".dvc":
        return "lock"
    if path == SEALS:
        return "seal"
    if parts.parts[:1] == ("approvals",):
        return "approval"
    if path == DECISIONS or parts.name == "audit.jsonl":
        return "log"
    by_folder: dict[str, Kind] = {"models": "model", "metrics": "metric", ".dvc": "cache"}
    if parts.parts[:1] and parts.parts[0] in by_folder:
        return by_folder[parts.parts[0]]
    if parts.name in _TABLES:
        return "manifest"
    if parts.parts[:1] == ("data",):
        return "image" if parts.suffix.lower() in _IMAGES else "data"
    return "data" if parts.parts[:1] == ("reports",) else "code"
