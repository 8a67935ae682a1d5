"""Seals: what the project held at one commit, as Merkle roots in a signed chain whose head stands in a git tag.

A line of the chain and the annotated tag ``seal/NNNN`` belong together: whoever has fetched the tag sees every change
of the chain, its last line and its end included.  No line holds anything but hashes, counts and names of data folders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cytoline.audit import leaves
from cytoline.audit.finding import SEALS, Report
from cytoline.audit.policy import Hex
from cytoline.audit.repository import blobs, commits_held, tags, tree, versions_of
from cytoline.audit.signed import Signed, Time, links_of, signature_faults
from cytoline.audit.signing import PROJECT, PUBLIC, key_id
from cytoline.deid.review.chain import unchained
from cytoline.errors import CytolineError

CONTEXT = b"cytoline seal 1\n"
PREFIX = "seal/"
_REMEDY = f"find out who changed it: `git log -p -- {SEALS}`; `git checkout -- {SEALS}` restores it"
_HEAD = re.compile(r"^head ([0-9a-f]{64})$", re.MULTILINE)
_LARGEST = 1 << 26


class Root(BaseModel):
    """One tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Hex
    leaves: Annotated[int, Field(ge=0)]


class Seal(Signed):
    """One seal.  ``absent``: outs of which nothing was there (private ones, on another machine)."""

    number: Annotated[int, Field(ge=1)]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]
    time: Time
    trees: dict[str, Root]
    absent: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The name of its tag."""
        return f"{PREFIX}{self.number:04}"


@dataclass
class Sealed:
    """What the last seal knows, as far as its lists are here and have its roots."""

    seal: Seal
    leaves: dict[str, list[dict[str, Any]] | None] = field(default_factory=dict)

    @property
    def known(self) -> dict[str, str]:
        """MD5 -> SHA-256 of every sealed object."""
        rows = self.leaves.get("outs") or []
        return {row["md5"]: row["sha256"] for row in rows if "sha256" in row}

    @property
    def listed(self) -> dict[str, str]:
        """File -> MD5 of everything that DVC kept."""
        return {row["path"]: row["md5"] for row in self.leaves.get("outs") or [] if "sha256" in row}

    @property
    def parts(self) -> dict[str, dict[str, str]]:
        """File -> place -> SHA-256."""
        return leaves.parts_by_file(row for one in self.leaves.values() for row in one or [])

    @property
    def complete(self) -> bool:
        """Every list is here."""
        return all(one is not None for one in self.leaves.values())


def read_seals(top: Path) -> list[Seal]:
    """All of them, oldest first.  Raises ``CytolineError`` naming a line that is not what was written."""
    path = top / SEALS
    if not path.is_file():
        return []
    if path.stat().st_size > _LARGEST:
        raise CytolineError(f"{SEALS} is larger than {_LARGEST >> 20} MB", _REMEDY)
    return unchained(path, Seal.model_validate_json, _REMEDY)


def check_seals(top: Path, report: Report, trusted: Path | None) -> Sealed | None:
    """The chain, its signatures, commits and tags; gives the last seal if nothing about it is broken.

    ``trusted`` is the project's public key as the reader got it by another way than this repository.
    """
    before = len(report.findings)
    anchors = tags(top, PREFIX)
    try:
        seals = read_seals(top)
    except CytolineError as error:
        if not report.names(SEALS):
            _, _, place = error.cause.partition(": ")
            report.add(SEALS, "is not what was written", place.removesuffix(" is not what was written"))
        seals = []
    else:
        _check_chain(seals, anchors, top, report)
        _check_history(len(seals), top, report)
    report.seals = len(seals)
    if not seals:
        if trusted is not None and len(report.findings) == before:
            report.add(SEALS, "no seal is here that the key you trust could have signed")
        if not anchors and len(report.findings) == before:
            report.notes.append("nothing was sealed yet: `cytoline audit seal`")
        return None
    if trusted is not None and key_id(trusted) != seals[-1].key:
        report.add(SEALS, "the last seal was signed with another key than the one you trust", f"line {len(seals)}")
    if len(report.findings) > before or report.names(f"{PUBLIC.as_posix()}/{PROJECT}.pem"):
        return None
    last = seals[-1]
    return Sealed(last, {name: leaves.kept(top, one.root) for name, one in last.trees.items()})


def _check_chain(seals: Sequence[Seal], anchors: Mapping[str, Any], top: Path, report: Report) -> None:
    links = links_of(seals)
    held = commits_held(top, [seal.commit for seal in seals]) if seals else set()
    # A key that was changed is reported as such; what it signed cannot be judged then.
    judged = not report.names(f"{PUBLIC.as_posix()}/{PROJECT}.pem")
    for number, seal in enumerate(seals, start=1):
        place = f"line {number}"
        for fault in signature_faults(seal, links[number - 1], top, CONTEXT, PROJECT) if judged else ():
            report.add(SEALS, fault, place)
        if seal.number != number:
            report.add(SEALS, f"has the number {seal.number}", place)
        if seal.commit not in held:
            report.add(SEALS, "git does not hold the commit that was sealed: history was rewritten", place)
        tag = anchors.get(seal.tag)
        if tag is None:
            report.add(SEALS, f"its tag {seal.tag} is not here (`git fetch --tags`), or was taken away", place)
            continue
        heads = _HEAD.findall(tag.message)
        if not tag.annotated or heads != [links[number]] or tag.commit != seal.commit:
            report.add(SEALS, f"is not the line that the tag {seal.tag} anchors", place)
    for name in sorted(anchors.keys() - {seal.tag for seal in seals}):
        report.add(SEALS, f"lacks the line that the tag {name} anchors", f"line {len(seals) + 1}")


def _check_history(count: int, top: Path, report: Report) -> None:
    """A chain only grows: whoever took lines and their tags away has left them in the history."""
    if report.names(SEALS):
        return
    content = (top / SEALS).read_bytes() if count else b""
    for old in blobs(top, versions_of(top, SEALS)):
        if old is not None and not content.startswith(old):
            lines = old.count(b"\n")
            report.add(SEALS, "an earlier commit holds seals that are not here", f"line {min(count, lines) + 1}")
            return


def sealed_git(top: Path, seal: Seal) -> dict[str, bytes]:
    """Content of every sealed file that git keeps, at the commit of the seal."""
    names = {path: name for path, name in tree(top, seal.commit).items() if leaves.git_tree(path)}
    found = blobs(top, list(names.values()))
    return {path: content for path, content in zip(names, found, strict=True) if content is not None}
