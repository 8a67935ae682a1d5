"""Two patients, two studies each, in DICOM: what must stay the same, move together or be kept when names go.

Outputs are told apart by their pixels, since names and UIDs are what a de-identifier changes.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError

from benchmarks.deid.canary import Canary
from benchmarks.deid.dicom_bytes import dataset, saved
from benchmarks.deid.score import Action, Row

KEPT = ("Modality", "Rows", "Columns", "PhotometricInterpretation", "PixelSpacing", "PatientSex")
GAP = datetime.timedelta(days=23)
"""Between the two studies of a patient."""


@dataclass(frozen=True)
class Instance:
    """One file of one study."""

    file: str
    patient: str
    study: str


INSTANCES = tuple(
    Instance(f"p{patient}-s{study}-{number}.dcm", f"study/p{patient}", f"study/p{patient}/s{study}")
    for patient in (1, 2)
    for study in (1, 2)
    for number in (1, 2)
)


def write(folder: Path) -> None:
    """Eight files."""
    for instance in INSTANCES:
        (folder / instance.file).write_bytes(saved(_dataset(instance)))


def _dataset(instance: Instance) -> FileDataset:
    person, study = Canary.of(instance.patient), Canary.of(instance.study)
    ds = dataset(instance.file)
    ds.PatientName, ds.PatientID = person.name, person.accession
    ds.PatientBirthDate = person.day
    ds.StudyInstanceUID, ds.AccessionNumber = study.uid, study.accession
    second = GAP if instance.study.endswith("s2") else datetime.timedelta()
    ds.StudyDate = (datetime.date(2021, 3, 5) + second).strftime("%Y%m%d")
    return ds


def judge(folder: Path) -> list[Row]:
    """Rows for what lies below ``folder``; an instance that is not there is withheld."""
    found = _by_pixels(folder)
    return [*_each(found), *_together(found)]


def _by_pixels(folder: Path) -> dict[Instance, Dataset]:
    pixels = {bytes(_dataset(instance).PixelData): instance for instance in INSTANCES}
    found: dict[Instance, Dataset] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            ds = dcmread(path)
            instance = pixels.get(bytes(ds.PixelData))
        except (InvalidDicomError, AttributeError, OSError, ValueError, EOFError):
            continue
        if instance:
            found[instance] = ds
    return found


def _each(found: dict[Instance, Dataset]) -> Iterator[Row]:
    for instance in INSTANCES:
        ds, original = found.get(instance), _dataset(instance)
        yield Row(f"study/{instance.file}", Action.PIXELS_RETAINED, ds is not None, ds is None)
        kept = ds is not None and all(getattr(ds, key, None) == getattr(original, key) for key in KEPT)
        yield Row(f"study/{instance.file}", Action.TAG_RETAINED, kept, ds is None)


def _together(found: dict[Instance, Dataset]) -> Iterator[Row]:
    for study in sorted({instance.study for instance in INSTANCES}):
        own = {instance for instance in INSTANCES if instance.study == study}
        yield Row(study, Action.UID_CONSISTENT, _consistent(found, "StudyInstanceUID", own))
    for patient in sorted({instance.patient for instance in INSTANCES}):
        own = {instance for instance in INSTANCES if instance.patient == patient}
        yield Row(patient, Action.PATIENT_ID_CONSISTENT, _consistent(found, "PatientID", own))
        yield Row(patient, Action.DATE_SHIFTED, _shifted(found, patient))


def _consistent(found: dict[Instance, Dataset], key: str, own: set[Instance]) -> bool:
    """One new value for these instances, which no other instance has and no original had."""
    values = {str(getattr(found.get(i), key, "")) for i in INSTANCES if i in own}
    others = {str(getattr(found.get(i), key, "")) for i in INSTANCES if i not in own}
    originals = {str(getattr(_dataset(i), key)) for i in INSTANCES}
    return len(values) == 1 and "" not in values and not values & (others | originals)


def _shifted(found: dict[Instance, Dataset], patient: str) -> bool:
    """All four files have another day, and the studies are as far apart as they were."""
    moves = set()
    for instance in (i for i in INSTANCES if i.patient == patient):
        try:
            now = datetime.datetime.strptime(str(found[instance].StudyDate), "%Y%m%d")
        except (KeyError, AttributeError, ValueError):
            return False
        moves.add(now - datetime.datetime.strptime(str(_dataset(instance).StudyDate), "%Y%m%d"))
    return len(moves) == 1 and moves != {datetime.timedelta()}
