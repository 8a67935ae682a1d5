"""The SOUP list of IEC 62304 (software of unknown provenance, clauses 5.3.3, 7.1.3, 8.1.2): every locked package.

Name and version are read from ``requirements.lock``, the licence from the installed package's metadata (PEP 639's
``License-Expression`` first), the purpose from the comments of ``requirements.in``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from cytoline.audit.revision import Revision

_LINE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[A-Za-z0-9,._-]+\])?(?:\s*==\s*([A-Za-z0-9.!+_-]+))?")
_CLASSIFIER = "License :: "
NOT_STATED = "not stated"
NOT_INSTALLED = "not installed here"
_LONGEST = 80
"""Characters; some packages put the whole text of their licence into the field for its name."""


@dataclass(frozen=True)
class Package:
    """One line of the lock.  ``asked`` is true where requirements.in names it, false where another package needs it."""

    name: str
    version: str
    licence: str
    purpose: str
    asked: bool


def packages(revision: Revision) -> tuple[Package, ...]:
    """Every package of the lock file of ``revision``, sorted by name."""
    purposes = _purposes((revision.read("requirements.in") or b"").decode("utf-8", "replace"))
    found = []
    for line in (revision.read("requirements.lock") or b"").decode("utf-8", "replace").splitlines():
        match = _LINE.match(line)
        if match and match[2]:
            key = canonical(match[1])
            purpose = purposes.get(key, "needed by another package")
            found.append(Package(match[1], match[2], licence_of(match[1]), purpose, key in purposes))
    return tuple(sorted(found, key=lambda one: canonical(one.name)))


def canonical(name: str) -> str:
    """The name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(name: str) -> str:
    """What the installed package says of its licence, in one line."""
    try:
        fields: Any = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
    stated = fields.get("License-Expression") or ""
    classifiers = [
        value.rsplit(" :: ", 1)[-1]
        for value in fields.get_all("Classifier") or []
        if value.startswith(_CLASSIFIER) and value != "License :: OSI Approved"
    ]
    lines = (fields.get("License") or "").strip().splitlines()
    free = lines[0].strip() if lines and len(lines[0].strip()) <= _LONGEST else ""
    return stated.strip() or "; ".join(classifiers) or (free if free.upper() != "UNKNOWN" else "") or NOT_STATED


def licences(found: tuple[Package, ...]) -> Mapping[str, int]:
    """Licence to number of packages, the most frequent first."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.licence] = counts.get(one.licence, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _purposes(text: str) -> dict[str, str]:
    """Canonical name to purpose: the heading that it stands under, and the remark behind it."""
    found, heading, blank = {}, "", True
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("#") and blank:
            heading = words.lstrip("# ").rstrip(".")
        match = _LINE.match(words)
        if match:
            remark = words.partition("#")[2].strip()
            found[canonical(match[1])] = f"{heading}: {remark}" if remark else heading
        blank = not words
    return found
