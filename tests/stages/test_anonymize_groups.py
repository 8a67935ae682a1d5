"""k-anonymity of planted records."""

from __future__ import annotations

from cytoline.manifest import Annotation, Record
from stages.anonymize.groups import K, k_anonymity


def record(patient: int, label: str, number: int = 0) -> Record:
    name = f"{patient:03d}-{number}"
    return Record(
        image_id=name,
        file=f"{name}.png",
        sha256="0" * 64,
        width=20,
        height=20,
        mpp=None,
        patient=f"{patient:032x}",
        slide="1" * 32,
        source="clinic",
        organ="cervix",
        stain="papanicolaou",
        role="field",
        annotations=(Annotation(bbox=(1, 2, 3, 4), label=label),),
    )


def test_people_who_stand_alone_are_counted() -> None:
    common = [record(patient, "NILM", number) for patient in range(K) for number in range(2)]
    assert k_anonymity(common) == {
        "k": K,
        "patients": K,
        "groups": 1,
        "groups_below_k": 0,
        "patients_in_groups_below_k": 0,
        "smallest": K,
    }
    rare = k_anonymity([*common, record(0, "SCC", 9), record(90, "SCC")])
    assert (rare["groups"], rare["groups_below_k"], rare["patients_in_groups_below_k"]) == (3, 3, K + 1)
    assert rare["smallest"] == 1
    assert k_anonymity([])["smallest"] == 0
