"""MLflow, kept at arm's length: every run is recorded where a store answers, and trains where none does.

The store is ``sqlite:///mlflow.db`` or what ``MLFLOW_TRACKING_URI`` says.  The first call that fails or hangs
costs one warning and ends the tracking of that run; nothing here raises.  Tags name the code, the data and
the packages, never a person or a machine.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from cytoline import provenance

T = TypeVar("T")

STORE = Path("mlflow.db")
EXPERIMENT = "cytoline"
CANDIDATE = "candidate"
MODEL_FOLDER = "model"

_SYSTEM_SECONDS = 5.0
_PARAM_LENGTH = 500
_QUICK = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""A training waits seconds, not MLflow's quarter of an hour, for a store that is gone; and nothing calls home."""
_PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
"""For sending a model: a server may take its time to put it away."""


@contextmanager
def stage_run(stage: str, params: Mapping[str, object], datasets: Mapping[str, Path]) -> Iterator[Run]:
    """Record one training stage.  ``datasets``: role -> path of an input; its digest is DVC's hash.

    Below ``dvc repro`` the run is a child of that repro's parent run.  Only rank 0 of a ``torchrun`` records.
    """
    with _environment(_QUICK):
        run = Run(stage)
        run.start(params, datasets)
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            run.finish(status)


class Run:
    """One stage's run.  Every method returns at once where tracking is off."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.id: str | None = None
        self._on = os.environ.get("RANK", "0") == "0"
        self._client: Any = None
        self._parent: str | None = None
        self._monitor: Any = None

    @property
    def active(self) -> bool:
        """False once the store has failed."""
        return self._on and self.id is not None

    def start(self, params: Mapping[str, object], datasets: Mapping[str, Path]) -> None:
        """Open the run (and its parent), and record params and inputs."""
        self._guarded(self._open)
        self._guarded(lambda: self._log_params(params))
        self._guarded(lambda: self._log_inputs(datasets))
        self._guarded(self._start_monitor)

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record all figures of one epoch in one request."""
        from_now = int(time.time() * 1000)

        def send() -> None:
            from mlflow.entities import Metric

            rows = [Metric(key, float(value), from_now, epoch) for key, value in sorted(metrics.items())]
            self._client.log_batch(self.id, metrics=rows, synchronous=True)

        self._guarded(send)

    def log_artifact(self, path: Path) -> None:
        """Keep one file or folder with the run."""

        def send() -> None:
            with _environment(_PATIENT):
                if path.is_dir():
                    self._client.log_artifacts(self.id, str(path), path.name)
                else:
                    self._client.log_artifact(self.id, str(path))

        self._guarded(self._ping)
        self._guarded(send)

    def log_model(self, folder: Path, name: str) -> None:
        """Keep a model folder with the run and register it as the newest version, alias ``candidate``."""

        def send() -> None:
            with _environment(_PATIENT):
                self._client.log_artifacts(self.id, str(folder), MODEL_FOLDER)
                self._register(folder, name)

        self._guarded(self._ping)
        self._guarded(send)

    def finish(self, status: str) -> None:
        """Close the run and its parent with FINISHED, FAILED or KILLED.

        After a failure it is tried once, silently: a store that is back, or that refused only one thing,
        should not show a run that never ends.
        """
        self._stop_monitor()
        if self._on:
            self._guarded(lambda: self._close(status))
        elif self.id is not None:
            with suppress(Exception):
                self._client.set_tag(self.id, "cytoline.tracking", "incomplete")
                self._close(status)

    def _close(self, status: str) -> None:
        for run in (self.id, self._parent):
            if run is not None:
                self._client.set_terminated(run, status)

    def _guarded(self, action: Callable[[], T]) -> T | None:
        if not self._on:
            return None
        try:
            return action()
        except Exception as error:  # whatever tracking does, training goes on
            self._on = False
            if self._monitor is not None:
                self._monitor._shutdown_event.set()
            Console(stderr=True, soft_wrap=True).print(
                f"[yellow]warning[/]: MLflow failed ({type(error).__name__}): {self.stage} goes on without tracking. "
                "Check MLFLOW_TRACKING_URI and its server; `cytoline doctor` tests them",
                highlight=False,
            )
            return None

    def _ping(self) -> None:
        """Find out with a short time limit whether the store still answers, before a long one is given."""
        self._client.get_run(self.id)

    def _open(self) -> None:
        import mlflow

        _quiet()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE.absolute()}"
        self._client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = self._experiment()
        tags = _tags(self.stage)
        repro = provenance.repro_id()
        if repro is not None:
            self._parent = self._parent_run(experiment, repro)
            tags["mlflow.parentRunId"] = self._parent
        self.id = self._client.create_run(experiment, tags=tags, run_name=self.stage).info.run_id

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        known = self._client.get_experiment_by_name(EXPERIMENT)
        if known is None:
            try:
                return str(self._client.create_experiment(EXPERIMENT))
            except MlflowException:  # another process was first
                known = self._client.get_experiment_by_name(EXPERIMENT)
        return str(known.experiment_id)

    def _parent_run(self, experiment: str, repro: str) -> str:
        found = self._client.search_runs([experiment], f"tags.`cytoline.repro` = '{repro}'", max_results=1)
        if found:
            parent = str(found[0].info.run_id)
            self._client.update_run(parent, status="RUNNING")
            return parent
        tags = {**_tags("repro"), "cytoline.repro": repro}
        return str(self._client.create_run(experiment, tags=tags, run_name="dvc repro").info.run_id)

    def _log_params(self, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        rows = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in sorted(_leaves(params))]
        for start in range(0, len(rows), 100):  # a server takes 100 at a time
            self._client.log_batch(self.id, params=rows[start : start + 100], synchronous=True)

    def _log_inputs(self, datasets: Mapping[str, Path]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        rows = [
            DatasetInput(
                Dataset(
                    name=path.name,
                    digest=provenance.dvc_digest(path),
                    source_type="dvc",
                    source=json.dumps({"path": _relative(path)}),
                ),
                [InputTag("mlflow.data.context", role)],
            )
            for role, path in sorted(datasets.items())
        ]
        if rows:
            self._client.log_inputs(self.id, datasets=rows)

    def _register(self, folder: Path, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._client.get_run(self.id).info.artifact_uri}/{MODEL_FOLDER}"
        # Not from dvc.lock: while its stage runs, that still names the model before this one.
        tags = {**_tags(self.stage), "cytoline.model.digest": provenance.folder_digest(folder)}
        tags = {key: value for key, value in tags.items() if key.startswith("cytoline.")}
        version = self._client.create_model_version(name, source, self.id, tags=tags, await_creation_for=20)
        self._client.set_registered_model_alias(name, CANDIDATE, version.version)

    def _start_monitor(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        untyped: Any = SystemMetricsMonitor
        uri = self._client.tracking_uri
        self._monitor = untyped(self.id, sampling_interval=_SYSTEM_SECONDS, tracking_uri=uri)
        self._monitor.start()

    def _stop_monitor(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None and self._on:
            self._guarded(monitor.finish)


def _tags(stage: str) -> dict[str, str]:
    """What identifies code and machine kind; MLflow's own tags for user and script are set so that it adds none."""
    git = provenance.git_state()
    return {
        "mlflow.user": "cytoline",
        "mlflow.source.name": f"stages.{stage}" if stage != "repro" else "dvc.yaml",
        "mlflow.source.type": "JOB",
        "mlflow.source.git.commit": git.commit,
        "cytoline.stage": stage,
        "cytoline.git.commit": git.commit,
        "cytoline.git.dirty": str(git.dirty).lower(),
        "cytoline.lock": provenance.lock_hash(),
        **{f"cytoline.{name}": value for name, value in provenance.machine().items()},
    }


def _leaves(params: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _relative(path: Path) -> str:
    """The path as ``dvc.yaml`` writes it; of one outside the repository only the last part."""
    absolute = Path(os.path.normpath(path.absolute()))
    return absolute.relative_to(Path.cwd()).as_posix() if absolute.is_relative_to(Path.cwd()) else path.name


def _quiet() -> None:
    """One warning of ours is enough: MLflow, Alembic and urllib3 also log every retry and migration."""
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set what the user has not set, for the length of the block."""
    ours = {key: value for key, value in values.items() if key not in os.environ or os.environ[key] == _QUICK.get(key)}
    before = {key: os.environ.get(key) for key in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
