"""``cytoline audit seal``: bind all that the project holds now in one signed line and one annotated tag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cytoline import atomic
from cytoline.audit import leaves
from cytoline.audit.finding import SEALS
from cytoline.audit.lists import outs_of
from cytoline.audit.repository import git
from cytoline.audit.revision import Cache
from cytoline.audit.seals import CONTEXT, HAND_OVER, Root, Seal, read_seals, sealed_git, who_seals
from cytoline.audit.signed import links_of, now, sign_row
from cytoline.audit.signing import PRIVATE, PROJECT, PUBLIC, check_name, is_project_key, key_id, private_key_id
from cytoline.audit.verification import Examination, examine
from cytoline.deid.review.chain import chained
from cytoline.errors import CytolineError

_TAGGER = {"user.name": "cytoline", "user.email": "cytoline@invalid"}
"""Where git was told no name: a tag needs one."""


def make_seal(top: Path = Path(), key: Path | None = None, successor: str | None = None) -> Seal:
    """Verify, then add a line to the chain and set the tag.  Raises ``CytolineError`` where anything is broken.

    ``successor`` is the name of the key that seals from then on.
    """
    seals = read_seals(top)
    name = who_seals(seals, top)
    private, public = key or top / PRIVATE / f"{name}.pem", top / PUBLIC / f"{name}.pem"
    owner = key_id(public)
    if private_key_id(private) != owner:
        raise CytolineError(f"that key is not the one of {public}", HAND_OVER)
    after = None if successor is None else _id_of_successor(successor, owner, top)
    found = examine(top, both=True)
    _refuse_broken(found, top)
    _, absent, partial = outs_of(found.items, found.records.tree, found.stock, Cache.of(top))
    if partial:
        raise CytolineError(f"only a part of {partial[0]} is here", "`dvc pull`, or `dvc repro`")
    draft = {"number": len(seals) + 1, "commit": found.records.commit, "time": now(), "key": owner}
    draft |= {"absent": tuple(sorted(absent)), "trees": {}, "signature": "A" * 8}
    draft |= {"successor": after}
    made = _leaves(found, Seal.model_validate(draft), absent, top)
    trees = {name: Root(root=root, leaves=len(made[name])) for name, root in leaves.roots(made).items()}
    seal = sign_row(Seal, draft | {"trees": trees}, seals, CONTEXT, private)
    _write([*seals, seal], top)
    leaves.keep(top, made)
    return seal


def _id_of_successor(name: str, owner: str, top: Path) -> str:
    if not is_project_key(check_name(name)):
        raise CytolineError(f"{name} is no name for a key that seals", f"`cytoline audit keygen {PROJECT}-2`")
    after = key_id(top / PUBLIC / f"{name}.pem")
    if after == owner:
        raise CytolineError(f"{name} is the key that seals now", f"`cytoline audit keygen {PROJECT}-2` makes another")
    return after


def _leaves(found: Examination, draft: Seal, absent: dict[str, str], top: Path) -> dict[str, list[bytes]]:
    files, _, _ = outs_of(found.items, found.records.tree, found.stock, Cache.of(top))
    made = leaves.build(leaves.Content(files, sealed_git(top, draft), found.stock.held, absent))
    if made is None:
        raise CytolineError("some data is not here", "`dvc pull`, or `dvc repro`")
    return made


def _refuse_broken(found: Examination, top: Path) -> None:
    broken = found.report.findings
    if broken:
        raise CytolineError(
            f"{len(broken)} links are broken, the first in {broken[0].file}", "`cytoline audit verify` names them all"
        )
    records = found.records
    loose = sorted((records.changed | (records.content.keys() - records.tree.keys())) - {SEALS})
    if loose:
        raise CytolineError(f"{loose[0]} is not committed as it is now", "commit it, then seal")


def _write(seals: list[Seal], top: Path) -> None:
    """The line and the tag, or neither."""
    path = top / SEALS
    before = path.read_bytes() if path.is_file() else None
    try:
        atomic.write_text(path, chained(seals))
        _tag(seals[-1], links_of(seals)[-1], top)
    except BaseException:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            atomic.write_bytes(path, before)
        raise


def _tag(seal: Seal, head: str, top: Path) -> None:
    who = [
        word for name, value in _TAGGER.items() if not git(top, "config", name) for word in ("-c", f"{name}={value}")
    ]
    message = f"cytoline {seal.tag}\n\nhead {head}\n"
    if git(top, *who, "tag", "--annotate", "--no-sign", "--message", message, seal.tag, seal.commit) is None:
        raise CytolineError(f"git did not set the tag {seal.tag}", "look whether it is there: `git tag -n seal/*`")


def seal(
    key: Annotated[Path | None, typer.Option(help="the project's private key (default: .cytoline/keys/)")] = None,
    successor: Annotated[
        str | None, typer.Option(help="hand over: the name (project-...) of the key that seals from the next one on")
    ] = None,
) -> None:
    """Seal what the project holds now: data, models, figures and logs, in one signed line.

    Everything is verified first. The line goes to `approvals/seals.jsonl` (commit it), its hash into the annotated tag
    `seal/NNNN` (push it: whoever has fetched it can prove every later change). `cytoline audit keygen project` makes
    the key, once.

    To replace the key: `cytoline audit keygen project-2`, commit, `cytoline audit seal --successor project-2`. The old
    key signs the new one's id; both public keys stay, so that old seals can be verified. Without the old private key
    nobody can hand over: keep a backup of it.
    """
    made = make_seal(key=key, successor=successor)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    count = sum(tree.leaves for tree in made.trees.values())
    console.print(f"sealed commit {made.commit[:12]} as {made.tag}: {count} leaves in {len(made.trees)} trees")
    if successor is not None:
        console.print(f"handed over: the next seal is {successor}'s, whose id is {made.successor}")
    if made.absent:
        console.print("not here, and sealed by the hash of their list alone: " + ", ".join(made.absent))
    console.print(f"commit {SEALS}, then `git push origin {made.tag}`")
