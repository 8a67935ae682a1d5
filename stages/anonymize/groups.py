"""How many people share what the clean records still say of them: k-anonymity of what is published.

Quasi-identifiers here are what stands beside a patient's pseudonym: source, organ, stain, and the set of labels that
an annotator gave.  A group of fewer than k people is worth a look before the records leave the house: somebody who
knows that a person is among them learns the rest of the row.
Source: L. Sweeney, k-anonymity, IJUFKS 10 (2002); k = 5 is what health data agencies ask for at least.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from cytoline.manifest import Record

K = 5


def k_anonymity(records: Iterable[Record]) -> dict[str, int]:
    """Counts only: groups and people in groups that are smaller than ``K``, and the smallest group (0: no records)."""
    said: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for record in records:
        said[record.patient].add(("taken", record.source, record.organ, record.stain))
        said[record.patient] |= {("labelled", item.label) for item in record.annotations}
    groups = Counter(frozenset(facts) for facts in said.values())
    small = [size for size in groups.values() if size < K]
    return {
        "k": K,
        "patients": len(said),
        "groups": len(groups),
        "groups_below_k": len(small),
        "patients_in_groups_below_k": sum(small),
        "smallest": min(groups.values(), default=0),
    }
