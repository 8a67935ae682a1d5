"""The lists of the last seal where they are not here (a fresh clone): made anew, and compared with the sealed roots.

A root binds the MD5 of each file to its SHA-256.  So the quick way takes the MD5 sums that DVC's listings state and
computes SHA-256 alone: if the roots are the sealed ones, both are what they were (MD5 would take more than twice as
long).  If they are not, nothing follows: the slow way computes both, and says what is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from cytoline.audit import leaves
from cytoline.audit.finding import PROMOTIONS, SEALS, Report
from cytoline.audit.hashing import Digest, Want, hash_files
from cytoline.audit.inventory import Held, Inventory, listing_of
from cytoline.audit.repository import tree
from cytoline.audit.revision import FOLDER, Cache, Item, Revision
from cytoline.audit.seals import Seal, Sealed, sealed_git
from cytoline.errors import CytolineError


def outs_of(
    items: Iterable[Item], tracked: Iterable[str], stock: Inventory, cache: Cache
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """File -> MD5 of what DVC alone keeps; outs of which nothing is here -> their MD5; outs of which only a part is."""
    git = _kept_by_git(tracked)
    files: dict[str, str] = {}
    absent: dict[str, str] = {}
    partial = []
    looked: dict[str, dict[str, str]] = {}
    for path, out in stock.out_of.items():
        looked.setdefault(out, {})[path] = stock.expected[path]
    for item in items:
        if item.path in git:
            continue
        mine = looked.get(item.path) if stock.outs.get(item.path) == item.md5 else listed(cache, item)
        here = [md5 in stock.held for md5 in (mine or {}).values()]
        if mine is None or (here and not any(here)):
            absent[item.path] = item.md5
        elif all(here):
            files |= mine
        else:
            partial.append(item.path)
    return files, absent, partial


def listed(cache: Cache, item: Item) -> dict[str, str] | None:
    """File -> MD5 of an out; None where its listing is not here."""
    if not item.md5.endswith(FOLDER):
        return {item.path: item.md5}
    listing = listing_of(cache, item)
    return None if listing is None else {f"{item.path}/{name}": md5 for name, md5 in listing.items()}


def from_cache(top: Path, sealed: Sealed) -> dict[Path, Digest]:
    """The quick way: fills the lists of ``sealed`` if all that it covers is in DVC's cache, unchanged.

    Gives what was hashed; nothing where it could not be done.
    """
    seal, cache = sealed.seal, Cache.of(top)
    try:
        items = _items(top, seal)
    except CytolineError:
        return {}
    git = _kept_by_git(tree(top, seal.commit))
    files: dict[str, str] = {}
    for item in items:
        if item.path not in git and item.path not in seal.absent:
            mine = listed(cache, item)
            if mine is None or not all(map(_inside, mine)):
                return {}
            files |= mine
    try:
        places = {md5: cache.path(md5) for md5 in files.values()}
    except CytolineError:
        return {}
    if not all(place.is_file() for place in places.values()):
        return {}
    digests = hash_files({place: Want(sha256=True) for place in places.values()}, (cache.folder,))
    if any(digest.fault for digest in digests.values()):
        return {}
    held = {md5: Held(place, digests[place].sha256, digests[place].size) for md5, place in places.items()}
    made = _made(seal, leaves.Content(files, sealed_git(top, seal), held, _hidden(items, seal)))
    if made is None or _wrong(seal, made):
        return {}
    _keep(top, sealed, made)
    return digests


def rebuild(sealed: Sealed, git: Mapping[str, bytes], stock: Inventory, top: Path, report: Report) -> bool:
    """The slow way, after a stocktaking with both hashes; reports roots that are wrong or cannot be made."""
    seal = sealed.seal
    items = _items(top, seal)
    files, absent, partial = outs_of(items, tree(top, seal.commit), stock, Cache.of(top))
    made = None
    if not partial and absent.keys() <= set(seal.absent):
        # What was absent at the seal stands in it by the MD5 of its out alone, also where it is here now.
        hidden = _hidden(items, seal)
        files = {path: md5 for path, md5 in files.items() if not _below(path, hidden)}
        made = _made(seal, leaves.Content(files, git, stock.held, hidden))
    if made is None:
        gone = ", ".join(sorted({*partial, *(absent.keys() - set(seal.absent))}))
        report.notes.append(f"the roots of {seal.tag} cannot be recomputed here, parts are missing: {gone}")
        return False
    wrong = _wrong(seal, made)
    for name in wrong:
        report.add(SEALS, f"the root of {name} is not that of the files", f"line {seal.number}")
    if wrong:
        return False
    _keep(top, sealed, made)
    return sealed.complete


def _items(top: Path, seal: Seal) -> list[Item]:
    state = Revision(seal.tag, seal.commit, top)
    return [*(out for stage in state.stages.values() for out in stage.outs), *state.sources]


def _hidden(items: Iterable[Item], seal: Seal) -> dict[str, str]:
    return {item.path: item.md5 for item in items if item.path in seal.absent}


def _made(seal: Seal, content: leaves.Content) -> dict[str, list[bytes]] | None:
    made = leaves.build(content)
    if made is not None and (logs := seal.trees.get("logs")) and leaves.roots(made)["logs"] != logs.root:
        # Seals made before promotions were sealed hold no leaf of theirs; the root says which kind this one is.
        older = {path: one for path, one in content.git.items() if path != PROMOTIONS}
        made = leaves.build(leaves.Content(content.outs, older, content.held, content.absent))
    return made


def _wrong(seal: Seal, made: Mapping[str, list[bytes]]) -> list[str]:
    found = leaves.roots(made)
    return [name for name, one in seal.trees.items() if found.get(name) != one.root]


def _keep(top: Path, sealed: Sealed, made: Mapping[str, list[bytes]]) -> None:
    with contextlib.suppress(OSError):  # a project that may not be written can be verified all the same
        leaves.keep(top, made)
    sealed.leaves = {name: leaves.kept(top, one.root) for name, one in sealed.seal.trees.items()}


def _kept_by_git(tracked: Iterable[str]) -> set[str]:
    names = set(tracked)
    return names | {parent.as_posix() for path in names for parent in Path(path).parents}


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts


def _below(path: str, outs: Mapping[str, str]) -> bool:
    return any(path == out or path.startswith(f"{out}/") for out in outs)
