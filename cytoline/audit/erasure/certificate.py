"""The certificate: what was erased, what was searched, what remains and why; no names, signed.

Hashes of originals would let whoever has such a file find out that its owner was here; they stand in it only as
keyed hashes (pseudonyms of the hashes), which the holder of the archive's key can check.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from cytoline import atomic
from cytoline.audit.erasure.plan import Plan
from cytoline.audit.erasure.proof import Proof
from cytoline.errors import CytolineError
from cytoline.pseudonyms import Pseudonyms

FOLDER = Path("certificates")
VERSION = 1

_HISTORY = (
    "git's history is every clone's copy and is not rewritten here; it holds pseudonyms and hashes of old versions. "
    "`--history` gives the list and the commands that rewrite it"
)


def certificate_of(plan: Plan, proof: Proof) -> dict[str, Any]:
    """The content, canonical once dumped with sorted keys."""
    public = sorted(md5 for md5 in plan.objects.gone if md5 not in plan.objects.private)
    return {
        "certificate": "cytoline erasure",
        "version": VERSION,
        "reference": plan.journal.reference,
        "time": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "complete": is_complete(plan, proof),
        "erased": {
            "images": plan.images,
            "files_by_place": dict(sorted(plan.journal.counts.items())),
            "objects": public,
            "originals_keyed": _keyed(plan),
            "originals": len(plan.objects.private),
        },
        "kept_without_the_person": {
            old: new for old, new in sorted(plan.objects.replaced.items()) if old in plan.objects.gone
        },
        "proof": proof.as_json(),
        "remains": _remains(plan),
        "models": [
            {"path": one.path, "digest": one.md5, "part": one.part, "learned": one.learned} for one in plan.models
        ],
        "models_withdrawn": plan.withdraw,
        "versions": [f"{name}/{version}" for name, version, _ in plan.versions],
    }


def is_complete(plan: Plan, proof: Proof) -> bool:
    """Everything could be searched, by hash, code and name, and nothing was found."""
    unsure = proof.unsearched or proof.blind or plan.files.attention or plan.objects.unknown_pages
    return not (proof.remains or unsure or (plan.person.raw and not proof.names))


def write_certificate(content: dict[str, Any], key: Path | None, path: Path | None) -> tuple[Path, bool]:
    """Write it and, with a key, its signature beside it (``.sig``).  Gives the place and whether it is signed."""
    text = (json.dumps(content, sort_keys=True, indent=1) + "\n").encode()
    place = path or _free(content["reference"])
    signature = sign(text, key) if key is not None else None
    atomic.write_bytes(place, text)
    if signature is not None:
        atomic.write_bytes(place.with_name(place.name + ".sig"), signature)
    return place, signature is not None


def _free(reference: str) -> Path:
    """A second run does not write over the first certificate."""
    for number in range(1, 1000):
        place = FOLDER / f"erasure-{reference}{f'-{number}' if number > 1 else ''}.json"
        if not place.exists():
            return place
    raise CytolineError("there are a thousand certificates of this erasure", "move the old ones away")


def sign(content: bytes, key: Path) -> bytes:
    try:
        from cytoline.audit.signing import sign_bytes  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise CytolineError(
            "this version of cytoline cannot sign", "leave --key out for an unsigned certificate"
        ) from None
    return bytes(sign_bytes(content, key))


def _keyed(plan: Plan) -> list[str]:
    names = plan.person.names
    if not isinstance(names, Pseudonyms):
        return []  # random pseudonyms have no key; only their number is told
    return sorted(names.of("file", f"erased|{md5}") for md5 in plan.objects.private)


def _remains(plan: Plan) -> list[dict[str, Any]]:
    """What is left on purpose, and why."""
    rows: list[dict[str, Any]] = []
    shown = plan.shown_history()
    if shown:
        files = {path: sum(counts.values()) for path, counts in sorted(shown.items())}
        rows.append({"what": "git history", "old_states": files, "why": _HISTORY})
    if plan.objects.shared:
        why = "another patient has the same file, byte for byte; it stays as theirs"
        rows.append({"what": "shared files", "count": len(plan.objects.shared), "why": why})
    learned = sum(one.learned for one in plan.models)
    if learned and not plan.withdraw:
        why = "weights are no copy of a picture; retrain (`dvc repro`) or withdraw them (--withdraw-models)"
        rows.append({"what": "models that learned from the person", "count": learned, "why": why})
    if plan.objects.lineage.now:
        why = "dvc.lock names the hashes of the last version until `dvc repro` and a commit"
        rows.append({"what": "hashes in dvc.lock", "why": why})
    if plan.files.links_elsewhere:
        why = (
            "the file system knows another name of these files, outside of every place searched (`cytoline add --link`)"
        )
        rows.append({"what": "hard links", "count": plan.files.links_elsewhere, "why": why})
    if plan.objects.unknown_pages:
        why = "report pages in a shared store that no version of this project accounts for"
        rows.append({"what": "pages", "count": len(plan.objects.unknown_pages), "why": why})
    if plan.person.unread:
        why = "old versions of sources whose files are not all there; they were searched by hash and code only"
        rows.append({"what": "versions not read", "count": len(plan.person.unread), "why": why})
    return rows
