"""What the audit says, as checked and frozen records: what ``--json`` prints and what the package is made of.

Nothing here can name a person: pseudonyms, hashes, counts, closed vocabularies.  What could not be read stands in
``missing``, in words; a field that is None or empty for that reason is never filled with a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cytoline.audit.revision import Item

Role = Literal["learned from", "chosen on", "measured on", "held out", "derived from", "unknown"]
"""What a patient was to a model or a figure, by the part of the split: train, val, test."""


class Facts(BaseModel):
    """Base of all: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageFacts(Facts):
    """One stage that took part in making a model, as ``dvc.lock`` of ``recorded`` proves it."""

    name: str
    command: str
    code: tuple[Item, ...]
    data: tuple[Item, ...]
    params: Mapping[str, Any]
    """Key to value, of all params files."""
    outs: tuple[Item, ...]
    recorded: str | None
    """Commit whose ``dvc.lock`` says so; None: only the work tree's."""


class PartFacts(Facts):
    """How much of a data set is in one part of the split."""

    patients: int
    images: int


class Version(Facts):
    """One version in MLflow's registry."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str | None


class RunFacts(Facts):
    """One training as MLflow recorded it.  Times are ISO 8601 in UTC."""

    id: str
    status: str
    started: str | None
    ended: str | None
    commit: str | None
    dirty: bool | None
    """Whether code or configuration differed from ``commit`` when it ran."""
    system: Mapping[str, str]
    """Machine, container, determinism: what the run was told of them, and MLflow's own figures of the system."""


class ModelFacts(Facts):
    """Everything that is known of how one model came to be."""

    name: str | None
    path: str
    digest: str
    """DVC's hash of the folder."""
    weights_sha256: str | None
    commit: str | None
    """The code it was trained with: what the run says, else the first commit that records the model."""
    dirty: bool | None
    recorded: str | None
    """First commit whose ``dvc.lock`` holds the digest; None: none does (only the work tree)."""
    lock_sha256: str | None
    python: str | None
    packages: Mapping[str, str]
    stages: tuple[StageFacts, ...]
    seed: int | None
    splits: Mapping[str, PartFacts]
    sources: tuple[str, ...]
    metrics: Mapping[str, float]
    card: Mapping[str, Any] | None
    registry: tuple[Version, ...]
    run: RunFacts | None
    notes: tuple[str, ...] = ()
    """Where two sources contradict each other."""
    missing: tuple[str, ...] = ()


class ImageFacts(Facts):
    """One image of a patient.  ``cached`` says whether DVC's local cache still holds it."""

    image_id: str
    slide: str
    source: str
    sha256: str
    file: str
    file_md5: str | None
    cached: bool
    datasets: tuple[str, ...]
    """Hash of every data set version that holds it."""


class DatasetFacts(Facts):
    """One version of a folder that holds images of the patient."""

    path: str
    md5: str
    images: int
    first_commit: str | None
    time: str | None
    commits: int


class SplitFacts(Facts):
    """Where one version of the split puts the patient."""

    md5: str
    parts: Mapping[str, int]
    """Part to number of the patient's images; more than one part is leakage."""
    first_commit: str | None
    commits: int


class PatchFacts(Facts):
    """The patient's patches in one version of a folder of shards."""

    path: str
    md5: str
    images: int
    patches: int
    shards: tuple[str, ...]
    names: tuple[str, ...]


class SeenBy(Facts):
    """A model or a file of metrics whose making had the patient among its data."""

    path: str
    md5: str
    name: str | None
    role: Role
    first_commit: str | None
    time: str | None
    commits: int
    registry: tuple[Version, ...] = ()


class SubjectFacts(Facts):
    """Everything that saw one patient, over all revisions that git knows."""

    patient: str
    images: tuple[ImageFacts, ...]
    datasets: tuple[DatasetFacts, ...]
    splits: tuple[SplitFacts, ...]
    patches: tuple[PatchFacts, ...]
    models: tuple[SeenBy, ...]
    metrics: tuple[SeenBy, ...]
    others: tuple[SeenBy, ...]
    revisions: int
    """How many revisions were searched."""
    missing: tuple[str, ...] = ()
