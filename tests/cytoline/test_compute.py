"""Workers, seeds and the allocator, each run for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor
from pathlib import Path

import pytest

from cytoline import compute
from cytoline.compute import ComputeParams, worker_pool
from cytoline.errors import CytolineError

PROJECT = Path(__file__).resolve().parents[2]
LOCAL = ComputeParams(scheduler="local", workers=2, threads=2)


def describe(number: int) -> tuple[int, int, str | None]:
    return number * number, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def refuse(number: int) -> None:
    raise CytolineError(f"cause {number}", "remedy")


def die(number: int) -> None:
    os._exit(number)


def test_a_pool_works_in_other_processes_with_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with worker_pool(LOCAL) as pool:
        assert isinstance(pool, Executor)
        rows = list(pool.map(describe, range(5)))
    assert [row[0] for row in rows] == [0, 1, 4, 9, 16]
    assert os.getpid() not in {row[1] for row in rows}
    assert {row[2] for row in rows} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7", "the training that follows keeps its threads"


def test_errors_of_a_worker_come_back_whole() -> None:
    with pytest.raises(CytolineError) as caught, worker_pool(LOCAL) as pool:
        pool.submit(refuse, 3).result()
    assert (caught.value.cause, caught.value.remedy) == ("cause 3", "remedy")


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(CytolineError, match="worker process was ended"), worker_pool(LOCAL) as pool:
        pool.submit(die, 9).result()


def test_an_unreachable_or_missing_cluster_is_a_clear_error() -> None:
    params = ComputeParams(scheduler="tcp://127.0.0.1:1", workers=0, threads=1)
    with pytest.raises(CytolineError, match="Dask"), worker_pool(params):
        pass


def test_a_dask_cluster_takes_the_same_work() -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        params = ComputeParams(scheduler=cluster.scheduler_address, workers=0, threads=1)
        with worker_pool(params) as pool:
            rows = [pool.submit(describe, number).result()[0] for number in range(4)]
    assert rows == [0, 1, 4, 9]


@pytest.mark.parametrize(("key", "value"), [("scheduler", "udp://x"), ("workers", -1), ("threads", 0)])
def test_impossible_params_are_refused_by_name(key: str, value: object, tmp_path: Path) -> None:
    values = {"scheduler": "local", "workers": 0, "threads": 2, key: value}
    lines = "".join(f"  {name}: {item}\n" for name, item in values.items())
    (tmp_path / "params.yaml").write_text(f"profiles:\n  cpu: {{}}\ncompute:\n{lines}")
    with pytest.raises(CytolineError, match=f"compute.{key}"):
        ComputeParams.load(tmp_path / "params.yaml")


def test_the_same_seed_gives_the_same_training_step() -> None:
    import torch

    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())

    def step(seed: int) -> list[float]:
        device = compute.prepare_torch(seed, threads=1)
        layer = torch.nn.Conv2d(3, 4, 3).to(device)
        layer(torch.randn(2, 3, 9, 9, device=device)).square().mean().backward()  # type: ignore[no-untyped-call]
        assert layer.weight.grad is not None
        return [float(value) for value in layer.weight.grad.flatten()]

    try:
        assert step(3) == step(3)
        assert step(3) != step(4)
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def test_bf16_agrees_with_torch_on_a_cpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("the answer is about the GPU here")
    if torch.cpu._is_avx512_bf16_supported():
        assert compute.has_fast_bf16()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a glibc setting")
def test_a_stage_restarts_once_with_its_arguments_and_nothing_else_does(tmp_path: Path) -> None:
    stage = tmp_path / "stages" / "demo.py"
    stage.parent.mkdir()
    (stage.parent / "__init__.py").touch()
    stage.write_text(
        "import os, sys\nfrom cytoline.compute import with_roomy_allocator\nprint('start', os.getpid(), flush=True)\n"
        "with_roomy_allocator()\nprint('work', os.getpid(), os.environ.get('MALLOC_TOP_PAD_'), *sys.argv[1:])\n"
    )

    def lines(*words: str, **more: str) -> list[list[str]]:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)]), **more}
        done = subprocess.run(
            [sys.executable, *words], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return [line.split() for line in done.stdout.splitlines()]

    first, second, work = lines("-m", "stages.demo", "--out", "x")
    assert first == second, "the same process, started anew"
    assert work == ["work", first[1], str(256 << 20), "--out", "x"]
    assert len(lines("-m", "stages.demo", MALLOC_TOP_PAD_="1")) == 2, "the user's own setting is left alone"
    assert len(lines(str(stage))) == 2, "only `python -m stages.x` is a stage"


SLOW_TO_LOAD = """
import time
from pathlib import Path

if __name__ == "__mp_main__":
    Path(f"loading-{time.monotonic_ns()}").touch()
    time.sleep(2)  # as long as the libraries of a stage take

from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool


def main() -> None:
    with worker_pool(ComputeParams(scheduler="local", workers=2, threads=1)) as pool:
        list(pool.map(abs, [1, 2]))
        time.sleep(60)


if __name__ == "__main__":
    run(main)
"""


def test_ctrl_c_while_workers_load_their_libraries_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_TO_LOAD)
    # A shell's background job is deaf to Ctrl-C, and its children inherit that: this one must hear it.
    deaf = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "slow.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, deaf)
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("loading-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert "interrupted" in said
    assert process.returncode == 130
