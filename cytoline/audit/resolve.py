"""Which model is meant: a path, a hash, or a name in MLflow's registry."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from cytoline.audit.revision import FOLDER, WORK_TREE, Revision
from cytoline.errors import CytolineError

_DIGEST = re.compile(r"([0-9a-f]{32})(\.dir)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r"(?P<name>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<version>[0-9]+))")
_AT = re.compile(r"(?P<revision>[^:]+):(?P<path>.+)")

_LONGEST = 500
_FORMS = "give a path (models/classifier), REVISION:path, a sha256, name@alias or name/version"


@dataclass(frozen=True)
class Named:
    """A model that git's history holds: its path, digest and the first commit (or the work tree) that records it."""

    path: str
    digest: str
    name: str | None
    weights_sha256: str | None
    first: str
    clean_md5: str | None
    split_md5: str | None


def check_ref(ref: str) -> None:
    """Raise ``CytolineError`` where ``ref`` cannot name a model, whatever the project holds."""
    if not ref.strip():
        raise CytolineError("no model is named: the reference is empty", _FORMS)
    if len(ref) > _LONGEST:
        raise CytolineError(f"no model is named: the reference is longer than {_LONGEST} characters", _FORMS)
    if not ref.isprintable():
        raise CytolineError(f"no model is named: the reference {ref!a} has characters that cannot be shown", _FORMS)
    if ".." in _AT.sub(r"\g<path>", ref).split("/"):
        raise CytolineError(f"no model is named: {ref!r} leads upwards", _FORMS)


def resolve(index: sqlite3.Connection, ref: str, top: Path = Path()) -> Named:
    """The model that ``ref`` names: ``models/classifier``, ``v1.2:models/classifier``, a sha256 of weights, a DVC hash
    of the folder, ``name@alias`` or ``name/version``.  Raises ``CytolineError`` where there is none.
    """
    check_ref(ref)
    if _SHA256.fullmatch(ref):
        return _one(index, "weights_sha256 = ?", (ref,), ref)
    if digest := _DIGEST.fullmatch(ref):
        return _one(index, "digest = ?", (digest[1] + FOLDER,), ref)
    path = ref.rstrip("/").removeprefix("./")
    if index.execute("SELECT 1 FROM models WHERE path = ?", (path,)).fetchone():
        return _of_path(index, path, _current(top), top)
    if (at := _AT.fullmatch(path)) is not None:
        return _of_path(index, at["path"], Revision.at(at["revision"], top), top)
    if (named := _NAMED.fullmatch(ref)) is not None:
        return _registered(index, named, ref)
    raise _unknown(ref)


def _current(top: Path) -> Revision:
    return Revision.work_tree(top) if (top / "dvc.lock").is_file() else Revision.at("HEAD", top)


def _of_path(index: sqlite3.Connection, path: str, revision: Revision, top: Path) -> Named:
    out = revision.out(path)
    if out is None:
        raise CytolineError(
            f"dvc.lock of {revision.name} records no {path}",
            "name a revision that has it: `REVISION:models/classifier`",
        )
    return _one(index, "digest = ? AND path = ?", (out.md5, path), f"{path} of {revision.name}")


def _registered(index: sqlite3.Connection, named: re.Match[str], ref: str) -> Named:
    rows = index.execute("SELECT version, digest, aliases FROM versions WHERE name = ?", (named["name"],)).fetchall()
    if not rows:
        (why,) = index.execute("SELECT coalesce(max(value), '') FROM meta WHERE key = 'registry missing'").fetchone()
        if why:
            raise CytolineError(f"{ref!r} cannot be looked up: {why}", "name the model by its path or hash")
        raise _unknown(ref)
    for version, digest, aliases in rows:
        if str(version) == named["version"] or (named["alias"] is not None and named["alias"] in aliases.split()):
            if digest is None:
                raise CytolineError(
                    f"{named['name']}/{version} is in the registry, but no revision that git knows holds that model",
                    "fetch the branch that it was trained on (`git fetch --all`), and its objects (`dvc fetch`)",
                )
            return _one(index, "digest = ?", (digest,), ref)
    raise CytolineError(f"the registry has no {ref!r}", f"{named['name']} has {len(rows)} versions; see `mlflow ui`")


def _one(index: sqlite3.Connection, where: str, values: tuple[str, ...], ref: str) -> Named:
    rows = index.execute(
        "SELECT path, digest, name, weights_sha256, first_commit, clean_md5, split_md5 FROM models "
        f'LEFT JOIN revisions ON "commit" = first_commit WHERE {where} ORDER BY first_commit = ?, time, seq, path',
        (*values, WORK_TREE),
    ).fetchall()
    if not rows:
        raise _unknown(ref)
    return Named(*rows[0])


def _unknown(ref: str) -> CytolineError:
    return CytolineError(
        f"no revision that git knows holds a model {ref!r}",
        _FORMS,
    )
