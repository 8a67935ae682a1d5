"""Where work runs: local processes or a Dask cluster for data, a fixed and seeded PyTorch for training."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from pydantic import Field

from cytoline.errors import CytolineError
from cytoline.params import Params

if TYPE_CHECKING:
    import torch

_Result = TypeVar("_Result")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_ROOMY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


class ComputeParams(Params, prefix="compute"):
    """How much of this machine, or which cluster."""

    scheduler: Annotated[str, Field(pattern=r"^(local|(tcp|tls|ws|wss)://\S+)$")]
    workers: Annotated[int, Field(ge=0, le=1024)]
    threads: Annotated[int, Field(ge=1, le=1024)]


@contextmanager
def worker_pool(params: ComputeParams) -> Iterator[Executor]:
    """An executor for per-image work, closed at the end; unfinished work is dropped on an error.

    ``local``: spawned processes, one thread each (spawned, because a forked OpenMP can hang).
    ``tcp://...``: a Dask cluster whose workers see the same files and code.
    """
    if params.scheduler != "local":
        with _dask_pool(params.scheduler) as pool:
            yield pool
        return
    with _one_thread_each():
        pool = _Pool(
            params.workers or core_count(),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
        )
        try:
            yield pool
        except BrokenExecutor:
            raise CytolineError(
                "a worker process was ended from outside, most often because memory ran out",
                "lower `compute.workers` in params.yaml; what was finished is kept, so run again to go on",
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def core_count() -> int:
    """Cores that this process may use (a container's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and (where it is loaded) PyTorch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def prepare_torch(seed: int, threads: int) -> torch.device:
    """Make PyTorch repeatable on this kind of machine and give the device to use (CUDA if there is one).

    Operations without a deterministic form warn instead of failing: the spread they cause is measured.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # That also fills every new tensor with NaN to expose reads of what was never written: a sixth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    seed_everything(seed)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def how_computed(threads: int) -> bytes:
    """What last digits of a network's answers depend on beside its weights, for memo keys: threads and device."""
    import torch

    return f"threads {threads}, {'cuda' if torch.cuda.is_available() else 'cpu'}".encode()


def has_fast_bf16() -> bool:
    """True where bfloat16 is faster than float32: AVX512-BF16 or AMX on the CPU, or a GPU with bf16."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("flags", 2)[1].splitlines()[0].split()
    except (OSError, IndexError):
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def with_roomy_allocator() -> None:
    """Restart this stage's process once with a memory allocator that keeps large blocks (Linux only).

    Training makes large short-lived tensors; giving each back to the kernel cost a quarter of the CPU time.
    glibc reads these settings only when a process starts.  Does nothing unless a stage is the running
    program (a test that calls ``main`` must not be restarted) or when any of the settings is there already.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    is_stage = spec is not None and spec.name.split(".")[0] == "stages"
    if not sys.platform.startswith("linux") or not is_stage or any(name in os.environ for name in _ROOMY):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    # Python shows a traceback for a Ctrl-C during its own start.  Blocked, the signal waits until ``stages`` is
    # imported again, which unblocks it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_ROOMY})


def on_every_gpu() -> None:
    """Restart this stage under ``torchrun``, one process per visible GPU, where there are two or more.

    Counted through NVML, because asking PyTorch would start CUDA in a process that is about to be replaced.
    """
    gpus = _visible_gpus()
    if gpus < 2 or "LOCAL_RANK" in os.environ:
        return
    module = sys.modules["__main__"].__spec__
    if module is None:
        return
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    os.execv(sys.executable, [sys.executable, *launch, "-m", module.name.removesuffix(".__main__"), *sys.argv[1:]])


def is_chief() -> bool:
    """True in the one process that writes files and records the run."""
    return int(os.environ.get("RANK", "0")) == 0


def _visible_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([item for item in visible.split(",") if item.strip() not in {"", "-1"}])
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers inherit this environment: as many processes as cores, so one thread in each."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Pool(ProcessPoolExecutor):
    """Starts its workers deaf to Ctrl-C: they load libraries for seconds before ``_start_worker`` takes over."""

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits it
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """Ctrl-C is the parent's to handle: a worker finishes its image quietly and is then told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


@contextmanager
def _dask_pool(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise CytolineError(
            f"compute.scheduler is {address} but Dask is not installed",
            "install it (`.venv/bin/pip install distributed`) or set `compute.scheduler: local`",
        ) from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise CytolineError(
            f"no Dask scheduler answers at {address} ({type(error).__name__})",
            "start it, correct `compute.scheduler`, or set it to `local`",
        ) from None
    with client, client.get_executor(pure=False) as pool:
        yield pool
