"""Tracking against real stores: SQLite, a server that dies half-way, a port where nobody answers."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cytoline import provenance
from cytoline.tracking import CANDIDATE, EXPERIMENT, stage_run

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty store: making one takes seconds, copying it none."""
    import mlflow

    folder = tmp_path_factory.mktemp("store")
    mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "DVC_STAGE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    return tmp_path


@pytest.fixture
def client(repository: Path, empty_store: Path) -> Any:
    import mlflow

    shutil.copyfile(empty_store, repository / "mlflow.db")
    return mlflow.MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")


def train(epochs: int = 3, stage: str = "train_detector") -> str | None:
    """A whole stage as far as tracking can see it."""
    with stage_run(stage, {"lr": 0.1, "head": {"classes": 3}}, {"training": Path("data")}) as run:
        for epoch in range(epochs):
            run.log_epoch(epoch, {"loss": 1.0 / (epoch + 1), "val/ap50": 0.5 + epoch / 10})
        run.log_model(Path("model"), "cytoline-detector")
        run.log_artifact(Path("data/a.txt"))
        return run.id


def test_a_run_holds_all_that_was_asked(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = client.get_run(train())
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.1", "head.classes": "3"}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(row.step, row.value) for row in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.digest, given.dataset.name) == (provenance.dvc_digest(Path("data")), "data")
    assert given.tags[0].value == "training"
    assert run.data.tags["cytoline.stage"] == "train_detector"
    assert {"cytoline.git.commit", "cytoline.git.dirty", "cytoline.lock"} <= run.data.tags.keys()
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"model", "a.txt"}
    version = client.get_model_version_by_alias("cytoline-detector", CANDIDATE)
    assert (version.run_id, version.version, version.status) == (run.info.run_id, 1, "READY")
    assert version.tags["cytoline.model.digest"] == provenance.dvc_digest(Path("model"))
    assert "warning" not in capsys.readouterr().err


def test_a_model_is_tagged_with_its_own_hash_not_with_that_of_the_one_before(
    client: Any, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a stage runs below ``dvc repro``, dvc.lock still names what it made the last time."""
    (repository / "dvc.lock").write_text(
        f"stages:\n  train_detector:\n    outs:\n    - path: model\n      md5: {'0' * 32}.dir\n"
    )
    monkeypatch.setenv("DVC_STAGE", "train_detector")
    train()
    version = client.get_model_version_by_alias("cytoline-detector", CANDIDATE)
    assert version.tags["cytoline.model.digest"] == provenance.folder_digest(Path("model")) != "0" * 32 + ".dir"


def test_a_run_says_what_computed_it_and_not_where(client: Any) -> None:
    tags = client.get_run(train()).data.tags
    assert tags["cytoline.python"] == platform.python_version()
    assert {"cytoline.cpu", "cytoline.cores", "cytoline.container"} <= tags.keys()
    told = " ".join(tags.values())
    assert platform.node() not in told
    assert str(Path.home()) not in told


def test_the_newest_model_is_the_candidate(client: Any) -> None:
    train()
    second = train()
    version = client.get_model_version_by_alias("cytoline-detector", CANDIDATE)
    assert (version.version, version.run_id) == (2, second)


def test_tags_name_no_person_and_no_machine(client: Any, repository: Path) -> None:
    values = " ".join(client.get_run(train()).data.tags.values())
    for secret in (getpass.getuser(), platform.node(), str(repository), str(Path.home()), sys.executable, __file__):
        assert secret not in values


def test_system_metrics_are_sampled(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cytoline.tracking._SYSTEM_SECONDS", 0.2)
    with stage_run("train_x", {}, {}) as run:
        time.sleep(1)
    metrics = client.get_run(run.id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics
    assert "system/system_memory_usage_megabytes" in metrics


@pytest.mark.parametrize(("error", "status"), [(ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_failed_training_is_recorded_as_such_and_its_error_goes_on(
    client: Any, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), stage_run("train_x", {}, {}) as run:
        raise error
    assert client.get_run(run.id).info.status == status


def test_a_refused_model_name_leaves_a_closed_run_that_says_it_is_incomplete(
    client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage_run("train_x", {}, {}) as run:
        run.log_model(Path("model"), "no/such:name")
        run.log_epoch(0, {"loss": 1.0})
    record = client.get_run(run.id)
    assert (record.info.status, record.data.tags["cytoline.tracking"]) == ("FINISHED", "incomplete")
    assert not record.data.metrics
    assert capsys.readouterr().err.count("warning") == 1


def test_only_the_first_of_several_processes_records(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert train() is None
    assert client.get_experiment_by_name(EXPERIMENT) is None


def test_a_port_where_nobody_answers_costs_one_warning(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{free_port()}")
    started = time.monotonic()
    assert train() is None
    assert time.monotonic() - started < 15
    shown = capsys.readouterr().err
    assert shown.count("warning") == 1
    assert "secret" not in shown
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_a_server_that_hangs_costs_seconds(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        started = time.monotonic()
        assert train() is None
        assert time.monotonic() - started < 15
    assert capsys.readouterr().err.count("warning") == 1


def test_a_store_that_is_no_store_costs_one_warning(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "mlflow.db").write_text("this is no database, " * 100)
    assert train() is None
    assert capsys.readouterr().err.count("warning") == 1


@pytest.fixture
def server(repository: Path, empty_store: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    shutil.copyfile(empty_store, repository / "server.db")
    port = free_port()
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///server.db"]
    words += ["--artifacts-destination", str(repository / "store"), "--port", str(port), "--workers", "1"]
    log = (repository / "server.log").open("wb")
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(words, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        kill_group(process)
        log.close()


@pytest.mark.slow
def test_a_server_records_everything_and_its_death_half_way_stops_no_training(
    server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    address, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    first = train()
    remote = mlflow.MlflowClient(address)
    assert remote.get_run(first).data.metrics["loss"] == pytest.approx(1 / 3)
    assert remote.get_model_version_by_alias("cytoline-detector", CANDIDATE).run_id == first
    assert "warning" not in capsys.readouterr().err

    started = time.monotonic()
    with stage_run("train_detector", {"lr": 1}, {"training": Path("data")}) as run:
        run.log_epoch(0, {"loss": 1.0})
        assert run.active
        kill_group(process)
        for epoch in range(1, 50):
            run.log_epoch(epoch, {"loss": 1.0})
        assert not run.active
        run.log_model(Path("model"), "cytoline-detector")
    assert time.monotonic() - started < 30
    assert capsys.readouterr().err.count("warning") == 1


@pytest.mark.slow
def test_the_stages_of_one_repro_share_a_parent_and_two_repros_do_not(client: Any, repository: Path) -> None:
    (repository / "work.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom cytoline.tracking import stage_run\n"
        "with stage_run(sys.argv[1], {}, {'training': Path('data')}) as run:\n"
        "    Path(sys.argv[1]).mkdir()\n    Path(sys.argv[1], 'id').write_text(run.id)\n"
    )
    stages = "".join(
        f"  {name}:\n    cmd: {sys.executable} work.py {name}\n    deps: [{dep}]\n    outs: [{name}]\n"
        for name, dep in (("one", "data"), ("two", "one"))
    )
    (repository / "dvc.yaml").write_text("stages:\n" + stages)
    dvc("init", "-q", "--no-scm")
    dvc("repro", "-q")
    one, two = (client.get_run((repository / name / "id").read_text()) for name in ("one", "two"))
    dvc("repro", "-q", "-f", "-s", "one")
    again = client.get_run((repository / "one" / "id").read_text())
    parents = [run.data.tags["mlflow.parentRunId"] for run in (one, two, again)]
    assert parents[0] == parents[1] != parents[2]
    parent = client.get_run(parents[0])
    assert (parent.info.status, parent.data.tags["cytoline.stage"]) == ("FINISHED", "repro")


def dvc(*words: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-m", "dvc", *words], env=env, check=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(900):
        assert process.poll() is None, "the server ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the server did not come up")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """The server and its workers, which it started itself and leads as a group."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait(10)
