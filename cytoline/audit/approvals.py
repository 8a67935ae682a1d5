"""Approvals: signed by persons, bound to hashes, in a chain that git keeps.  They fall when what they bind changes.

A line says who, in which role, with which meaning and when (21 CFR 11.50), and is signed together with its place in the
chain, so that nobody without the key can move it.  Nothing is ever taken out: a later line of the same person in the
same role about the same model takes the place of an earlier one.  Nor does a rejection fall with its key: whoever may
commit could else lift it by removing ``approvals/keys/NAME.pem``, or the line itself, of which git's history knows.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cytoline import atomic
from cytoline.audit.covers import covered, refuse_unfit, resolve
from cytoline.audit.policy import POLICY, Handle, Policy, Word, read_policy
from cytoline.audit.repository import blobs, versions_of
from cytoline.audit.signed import Signed, Time, links_of, now, sign_row, signature_faults
from cytoline.audit.signing import PRIVATE, PUBLIC, check_name, key_id, private_key_id
from cytoline.deid.review.chain import chained, unchained
from cytoline.errors import CytolineError

APPROVALS = "approvals/approvals.jsonl"
_CONTEXT = b"cytoline approval 1\n"
"""Stands before what is signed: a signature made for a seal is none for an approval."""
_REMEDY = f"find out who changed it: `git log -p -- {APPROVALS}`; `git checkout -- {APPROVALS}` restores it"
_LARGEST = 1 << 26
_MOST = 100_000


class Approval(Signed):
    """One approval.  ``covers`` is path -> ``md5:...`` or ``sha256:...``; ``key`` is the key's id."""

    role: Word
    meaning: Word
    by: Handle
    time: Time
    ref: Annotated[str, Field(min_length=1, max_length=500)]
    """The model's path."""
    covers: Annotated[dict[str, str], Field(max_length=_MOST)]


@dataclass(frozen=True)
class ApprovalState:
    """One approval and whether it stands; ``why`` says what made it fall."""

    role: str
    meaning: str
    by: str
    key: str
    time: str
    ref: str
    standing: bool
    why: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """Whether a model may be promoted; ``reasons`` says what is in the way, ``notes`` what the answer rests on."""

    met: bool
    reasons: tuple[str, ...]
    approvals: tuple[ApprovalState, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lost:
    """A line that an earlier commit holds and the log does not; ``number`` is the one that it had there."""

    number: int
    row: Approval

    def __str__(self) -> str:
        return f"the history holds a line of {self.row.by} ({self.row.meaning} as {self.row.role}) that is gone"


def read_approvals(top: Path = Path()) -> list[Approval]:
    """All of them, oldest first.  Raises ``CytolineError`` naming a line that is not what was written."""
    path = top / APPROVALS
    if not path.is_file():
        return []
    if path.stat().st_size > _LARGEST:
        raise CytolineError(f"{APPROVALS} is larger than {_LARGEST >> 20} MB", _REMEDY)
    return unchained(path, Approval.model_validate_json, _REMEDY)


def approve(ref: str, role: str, meaning: str, by: str, key: Path | None = None, top: Path = Path()) -> Approval:
    """Sign, and add the line.  Raises ``CytolineError`` where the policy, the key or the model's state forbids it."""
    policy = read_policy(top)
    private, public = key or top / PRIVATE / f"{check_name(by)}.pem", top / PUBLIC / f"{check_name(by)}.pem"
    if meaning not in policy.meanings:
        raise CytolineError(f"{POLICY} has no such meaning", "one of: " + ", ".join(policy.meanings))
    owner = key_id(public)
    if forbidden := policy.allows(by, role, owner):
        raise CytolineError(forbidden, "roles are: " + ", ".join(policy.roles))
    if private_key_id(private) != owner:
        raise CytolineError(f"that key is not the one of {public}", "sign with your own key, under your own name")
    path, state = resolve(ref, top)
    covers = covered(path, state)
    refuse_unfit(path, state, covers)
    rows = read_approvals(top)
    fields = {"role": role, "meaning": meaning, "by": by, "key": owner, "time": now(), "ref": path, "covers": covers}
    made = sign_row(Approval, fields, rows, _CONTEXT, private)
    atomic.write_text(top / APPROVALS, chained([*rows, made]))
    return made


def standing(ref: str, top: Path = Path()) -> Standing:
    """Who approved this version of a model, what of that still stands, and whether the policy is met.

    A broken chain meets no policy; the reason says where it breaks.
    """
    path, state = resolve(ref, top)
    try:
        rows, policy = read_approvals(top), read_policy(top)
    except CytolineError as error:
        return Standing(False, (error.cause,), ())
    now = covered(path, state)
    states = judged(rows, policy, path, now, top)
    reasons = (
        *(str(one) for one in lost_lines(rows, top) if one.row.ref == path and _blocks(one.row, policy, now)),
        *_keyless(rows, policy, path, now, top),
        *_open(policy, [one for one in states if one.standing]),
    )
    notes = () if policy.people else (f"{POLICY} names no people: every committed key counts as a person of its own",)
    return Standing(not reasons, reasons, tuple(states), notes)


def judged(
    rows: Sequence[Approval], policy: Policy, path: str, now: Mapping[str, str], top: Path = Path()
) -> list[ApprovalState]:
    """Every approval of the model at ``path`` against the hashes as they are ``now``, oldest first."""
    links = links_of(rows)
    mine = [number for number, row in enumerate(rows) if row.ref == path]
    last = {(rows[number].by, rows[number].role): number for number in mine}
    states = []
    for number in mine:
        row = rows[number]
        why = [*signature_faults(row, links[number], top, _CONTEXT, row.by), *_fallen(row, now)]
        if forbidden := policy.allows(row.by, row.role, row.key):
            why.append(forbidden)
        if last[row.by, row.role] != number:
            why.append(f"{row.by} signed again as {row.role}")
        states.append(ApprovalState(row.role, row.meaning, row.by, row.key, row.time, row.ref, not why, tuple(why)))
    return states


def approval_faults(rows: Sequence[Approval], top: Path) -> list[tuple[int, str]]:
    """Lines (from 1) whose signature does not hold, and why."""
    links = links_of(rows)
    return [
        (number + 1, why)
        for number, row in enumerate(rows)
        for why in signature_faults(row, links[number], top, _CONTEXT, row.by)
    ]


def lost_lines(rows: Sequence[Approval], top: Path) -> list[Lost]:
    """Lines of earlier commits that are not among ``rows``, though their signer has not signed again in that role.

    Two branches that both sign cannot be merged without losing lines, so whoever signs again is not missed.  A line
    that holds under no key which its signer ever had in git was never signed, and is not missed either.
    """
    held, links = {row.signature for row in rows}, links_of(rows)
    since = {
        (row.by, row.role, row.ref): row.time
        for row, link in zip(rows, links, strict=False)
        if not signature_faults(row, link, top, _CONTEXT, row.by)
    }
    gone: dict[str, Lost] = {}
    for content in blobs(top, versions_of(top, APPROVALS)):
        for number, row, link in _signed_lines(content or b""):
            new = row.signature not in held | gone.keys() and since.get((row.by, row.role, row.ref), "") < row.time
            if new and _signed_once(row, link, top):
                gone[row.signature] = Lost(number, row)
    return sorted(gone.values(), key=lambda one: one.number)


def _signed_lines(content: bytes) -> Iterator[tuple[int, Approval, str]]:
    """Number, approval and the hash that it gives of the line before, of each line that is one."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            fields = json.loads(line)
            link = str(fields.pop("prev"))
            yield number, Approval.model_validate_json(json.dumps(fields)), link
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # pydantic's error is a ValueError
            continue


def _signed_once(row: Approval, link: str, top: Path) -> bool:
    """Whether the signature holds under any key that its signer ever had in git."""
    path = PUBLIC / f"{row.by}.pem"
    with tempfile.TemporaryDirectory(prefix="cytoline-") as folder:
        file = Path(folder) / path
        file.parent.mkdir(parents=True)
        for content in blobs(top, versions_of(top, path.as_posix())):
            file.write_bytes(content or b"")
            if not signature_faults(row, link, Path(folder), _CONTEXT, row.by):
                return True
    return False


def _keyless(rows: Sequence[Approval], policy: Policy, path: str, now: Mapping[str, str], top: Path) -> Iterator[str]:
    """Rejections that would stand, had their key not been taken away or exchanged."""
    last = {(row.by, row.role): number for number, row in enumerate(rows) if row.ref == path}
    links = links_of(rows)
    for number in sorted(last.values()):
        row = rows[number]
        if not _blocks(row, policy, now):
            continue
        faults = signature_faults(row, links[number], top, _CONTEXT, row.by)
        if faults and _signed_once(row, links[number], top):
            yield f"{row.by} says {row.meaning} as {row.role}, and {faults[0]}"


def _blocks(row: Approval, policy: Policy, now: Mapping[str, str]) -> bool:
    return row.meaning in policy.promotion.blocks and not _fallen(row, now)


def _fallen(row: Approval, now: Mapping[str, str]) -> list[str]:
    changed = [name for name in sorted(row.covers.keys() | now.keys()) if row.covers.get(name) != now.get(name)]
    words = {True: "is not covered", False: "has changed"}
    return [f"{name} {words[name not in row.covers]}" for name in changed]


def _open(policy: Policy, good: Sequence[ApprovalState]) -> tuple[str, ...]:
    blocks = set(policy.promotion.blocks)
    reasons = [f"{one.by} says {one.meaning} as {one.role}" for one in good if one.meaning in blocks]
    given = {(one.role, one.meaning) for one in good}
    reasons += [
        f"no {need.meaning} by the role {need.role} stands"
        for need in policy.promotion.needs
        if (need.role, need.meaning) not in given
    ]
    wanted = {(need.role, need.meaning) for need in policy.promotion.needs}
    counted = [one for one in good if (one.role, one.meaning) in wanted] if wanted else list(good)
    people = min(len({one.by for one in counted}), len({one.key for one in counted}))
    if people < policy.promotion.people:
        reasons.append(
            f"{people} of {policy.promotion.people} people: the needed approvals are by too few, each with an own key"
        )
    return tuple(reasons)
