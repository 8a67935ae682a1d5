"""Seals: what the project held at one commit, as Merkle roots in a signed chain whose head stands in a git tag.

A line of the chain and the annotated tag ``seal/NNNN`` belong together: whoever has fetched the tag sees every change
of the chain, its last line and its end included.  No line holds anything but hashes, counts and names of data folders.

The first key of the project is ``approvals/keys/project.pem``.  A seal may hand over to another one,
``approvals/keys/project-NAME.pem``: its id stands in the line that the old key signs, and the next line must be the new
key's.  Nothing is replaced, so every old seal can still be verified, and whoever trusts the old key trusts the new one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from cytoline.audit import leaves
from cytoline.audit.finding import SEALS, Report
from cytoline.audit.policy import Hex
from cytoline.audit.repository import blobs, commits_held, tags, tree, versions_of
from cytoline.audit.signed import Signed, Time, links_of, signature_faults
from cytoline.audit.signing import PROJECT, PUBLIC, is_project_key, key_id
from cytoline.deid.review.chain import unchained
from cytoline.errors import CytolineError

CONTEXT = b"cytoline seal 1\n"
PREFIX = "seal/"
_REMEDY = f"find out who changed it: `git log -p -- {SEALS}`; `git checkout -- {SEALS}` restores it"
HAND_OVER = (
    "seal with the project's own key. It is never replaced in place: restore it (`git log -- approvals/keys`), then "
    "`cytoline audit keygen project-2`, commit, `cytoline audit seal --successor project-2`"
)
_HEAD = re.compile(r"^head ([0-9a-f]{64})$", re.MULTILINE)
_LARGEST = 1 << 26


class Root(BaseModel):
    """One tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Hex
    leaves: Annotated[int, Field(ge=0)]


class Seal(Signed):
    """One seal.  ``absent``: outs of which nothing was there (private ones, on another machine).

    ``successor``: the id of the key that signs from the next line on.
    """

    number: Annotated[int, Field(ge=1)]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]
    time: Time
    trees: dict[str, Root]
    absent: tuple[str, ...] = ()
    successor: Hex | None = None

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Lines without a successor look as they did before there were any: their signatures hold."""
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if name != "successor" or value is not None}

    @property
    def signs_next(self) -> str:
        """The id of the key that the next line must be signed with."""
        return self.successor or self.key

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


def project_keys(top: Path) -> dict[str, str]:
    """Id -> name of every key in ``approvals/keys`` that is the project's own; what cannot be read is left out."""
    found = {}
    for path in sorted((top / PUBLIC).glob(f"{PROJECT}*.pem")):
        if is_project_key(path.stem):
            with contextlib.suppress(CytolineError):
                found[key_id(path)] = path.stem
    return found


def who_seals(seals: Sequence[Seal], top: Path) -> str:
    """The name of the key whose turn it is.  Raises ``CytolineError`` where its public half is not here."""
    if not seals:
        return PROJECT
    name = project_keys(top).get(seals[-1].signs_next)
    if name is None:
        raise CytolineError(
            f"no {PUBLIC.as_posix()}/{PROJECT}*.pem is the key that the last seal leaves the next one to", HAND_OVER
        )
    return name


def check_seals(top: Path, report: Report, trusted: Path | None) -> Sealed | None:
    """The chain, its signatures, commits and tags; gives the last seal if nothing about it is broken.

    ``trusted`` is the project's public key as the reader got it by another way than this repository.
    """
    before = len(report.findings)
    anchors = tags(top, PREFIX)
    try:
        lines = read_seals(top)
    except CytolineError as error:
        if not report.names(SEALS):
            _, _, place = error.cause.partition(": ")
            report.add(SEALS, "is not what was written", place.removesuffix(" is not what was written"))
        lines = []
    else:
        _check_chain(lines, anchors, top, report)
        _check_history(len(lines), top, report)
    report.seals = len(lines)
    if not lines:
        if trusted is not None and len(report.findings) == before:
            report.add(SEALS, "no seal is here that the key you trust could have signed")
        if not anchors and len(report.findings) == before:
            report.notes.append("nothing was sealed yet: `cytoline audit seal`")
        return None
    if trusted is not None:
        _check_trust(lines, key_id(trusted), report)
    if len(report.findings) > before or _changed_keys(report):
        return None
    last = lines[-1]
    return Sealed(last, {name: leaves.kept(top, one.root) for name, one in last.trees.items()})


def _check_trust(lines: Sequence[Seal], trusted: str, report: Report) -> None:
    """The trusted key must have signed a line: what came before it is in its chain, what came after was handed over."""
    mine = [line.number for line in lines if line.key == trusted]
    if not mine:
        report.add(SEALS, "no seal was signed with the key that you trust", f"line {len(lines)}")
    elif lines[-1].key != trusted:
        report.notes.append(
            f"the key that you trust handed over in {SEALS}, line {mine[-1]}; now {lines[-1].signs_next} seals"
        )


def _changed_keys(report: Report) -> bool:
    """A key that was changed is reported as such; what it signed cannot be judged then."""
    return any(one.file.startswith(f"{PUBLIC.as_posix()}/{PROJECT}") for one in report.findings)


def _check_chain(lines: Sequence[Seal], anchors: Mapping[str, Any], top: Path, report: Report) -> None:
    links, owners = links_of(lines), project_keys(top)
    held = commits_held(top, [seal.commit for seal in lines]) if lines else set()
    judged = not _changed_keys(report)
    for number, seal in enumerate(lines, start=1):
        place = f"line {number}"
        owner = owners.get(seal.key, PROJECT)
        for fault in signature_faults(seal, links[number - 1], top, CONTEXT, owner) if judged else ():
            report.add(SEALS, fault, place)
        if number > 1 and seal.key != lines[number - 2].signs_next:
            report.add(SEALS, "was signed with a key that no seal before it hands over to", place)
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
    for name in sorted(anchors.keys() - {seal.tag for seal in lines}):
        report.add(SEALS, f"lacks the line that the tag {name} anchors", f"line {len(lines) + 1}")


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
