"""From a patient's code to a part.

Adding patients may move nobody.  So a patient's part cannot depend on who else is there (it must be what it would
be if the patient were alone), which rules out balancing classes by counting.  What is left to choose is the salt:
each gives another fair split, and ``suggest_salt`` finds one under which every class is in every part.  It is set
once, before the first training, and then left alone.

One exception: patients who share an image (or nearly the same one) must stay together, so they all go where the
one with the smallest hash goes; a newcomer who links two groups, or comes in below, moves them.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cytoline.splits import SPLITS, Split
from stages.split.params import SplitParams

Link = tuple[str, str]
"""Two patients who share an image."""

TRIALS = 400


def place(patient: str, salt: int) -> float:
    """A number in [0, 1) that follows from patient and salt alone."""
    digest = hashlib.sha256(f"split|{salt}|{patient}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def part_of(patient: str, salt: int, params: SplitParams) -> Split:
    """The part of a patient who is linked with nobody."""
    where = place(patient, salt)
    if where < params.train:
        return "train"
    return "val" if where < params.train + params.val else "test"


def group_patients(patients: Iterable[str], links: Iterable[Link]) -> list[tuple[str, ...]]:
    """Connected sets of patients, each sorted."""
    parent = {patient: patient for patient in patients}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = parent[parent[patient]]
            patient = parent[patient]
        return patient

    for one, other in links:
        parent[root(one)] = root(other)
    groups = defaultdict(list)
    for patient in sorted(parent):
        groups[root(patient)].append(patient)
    return sorted(tuple(members) for members in groups.values())


def leader(group: Sequence[str], salt: int) -> str:
    """The member whom the others follow."""
    return min(group, key=lambda patient: (place(patient, salt), patient))


def assign(groups: Iterable[Sequence[str]], params: SplitParams) -> dict[str, tuple[str, Split]]:
    """Patient -> (leader of the group, part)."""
    assigned: dict[str, tuple[str, Split]] = {}
    for group in groups:
        first = leader(group, params.salt)
        part = part_of(first, params.salt, params)
        assigned.update((patient, (first, part)) for patient in group)
    return assigned


def suggest_salt(
    groups: Sequence[Sequence[str]], cells: Mapping[str, Counter[str]], params: SplitParams
) -> tuple[int, float]:
    """The salt below ``TRIALS`` whose class shares come closest to those asked for, and how far off it is."""
    return min(((salt, imbalance(groups, cells, salt, params)) for salt in range(TRIALS)), key=lambda item: item[::-1])


def imbalance(
    groups: Sequence[Sequence[str]], cells: Mapping[str, Counter[str]], salt: int, params: SplitParams
) -> float:
    """Largest gap, over classes (and patients) and parts, between the share asked for and the share there is.

    A class that a part lacks altogether weighs 1 more.
    """
    counts: dict[str, Counter[Split]] = defaultdict(Counter)
    for group in groups:
        part = part_of(leader(group, salt), salt, params)
        for patient in group:
            counts["patients"][part] += 1
            for name, number in cells.get(patient, Counter()).items():
                counts[f"class {name}"][part] += number
    gaps = [0.0]
    for per_part in counts.values():
        for part in SPLITS:
            wanted = float(getattr(params, part))
            gap = abs(per_part[part] / per_part.total() - wanted)
            gaps.append(gap + (1 if wanted and not per_part[part] else 0))
    return max(gaps)
