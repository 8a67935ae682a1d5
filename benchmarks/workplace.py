"""A copy of the repository to run the pipeline in, so that nothing measured or broken touches the real one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    text: str
    """Standard output and error together, in order."""
    seconds: float

    def stages_run(self) -> list[str]:
        """Names of the stages that really ran (``dvc repro`` says so), in order."""
        return re.findall(r"^Running stage '([^']+)'", self.text, flags=re.MULTILINE)


class Running:
    """A command that is under way; leaving its ``with`` block ends it and all its children."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.process = process
        self._log = log
        self._started = time.monotonic()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()

    def text(self) -> str:
        """What it has printed so far."""
        return os.pread(self._log.fileno(), 1 << 30, 0).decode("utf-8", "replace")

    def wait_for(self, pattern: str, timeout: float = 300) -> bool:
        """Wait until it has printed something that matches; False if it ended or the time passed before."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.text()):
            if self.process.poll() is not None or time.monotonic() > end:
                return re.search(pattern, self.text()) is not None
            time.sleep(0.1)
        return True

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends it to every process of the foreground group; one that has ended hears nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

    def finish(self, watch: Callable[[psutil.Process], None] | None = None, timeout: float = 7200) -> Done:
        """Wait for its end; after ``timeout`` seconds it is killed (code -9)."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2 if watch else max(0.1, timeout))
            if self.process.poll() is not None:
                return Done(self.process.returncode, self.text(), time.monotonic() - self._started)
            if watch is not None:
                watch(psutil.Process(self.process.pid))
            if time.monotonic() - self._started > timeout:
                os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Workplace:
    """A git repository at ``root`` that shares the real one's installed packages, and nothing else."""

    root: Path

    @classmethod
    def clone(cls, root: Path, commit: str) -> Workplace:
        """What a stranger gets: a fresh clone, at this commit."""
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(root)], check=True)
        place = cls(root)
        place.git("checkout", "--quiet", "--detach", commit)
        return place._with_packages()

    def commit(self) -> str:
        """The commit that is checked out here, as ``benchmarks.result.current_commit`` writes it."""
        return self.git("rev-parse", "--short=12", "HEAD").strip()

    @classmethod
    def copy(cls, root: Path) -> Workplace:
        """The working tree as it is now: tracked files and new ones that git does not ignore, in one commit."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
        for name in sorted(filter(None, names)):
            source, target = ROOT / os.fsdecode(name), root / os.fsdecode(name)
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        place = cls(root)._with_packages()
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "copy"]):
            place.git(*command)
        return place

    def twin(self, root: Path) -> Workplace:
        """A second copy with all that was computed here, cache and memo store included."""
        shutil.copytree(self.root, root, symlinks=True)
        shutil.copy2(self.key, Workplace(root).key)
        return Workplace(root)

    def git(self, *arguments: str) -> str:
        """Run git here under a name that is nobody's."""
        who = ["-c", "user.name=cytoline", "-c", "user.email=cytoline@invalid", "-c", "commit.gpgsign=false"]
        command = ["git", *who, *arguments]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout

    def environment(self) -> dict[str, str]:
        """This copy's modules come first; its pseudonym key is its own."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "CYTOLINE_KEY_FILE": str(self.key),
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }

    def run(self, *command: str, watch: Callable[[psutil.Process], None] | None = None, timeout: float = 7200) -> Done:
        """Run a command here to its end.  ``watch`` is called with its process every two seconds."""
        with self.start(*command) as running:
            return running.finish(watch, timeout)

    def start(self, *command: str) -> Running:
        """Start a command here in a process group of its own, so that Ctrl-C can be sent to all of it."""
        log = tempfile.TemporaryFile(mode="w+b")  # noqa: SIM115 - closed by Running
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - it only sets a signal
        )
        return Running(process, log)

    def dvc(self, *arguments: str, **options: Any) -> Done:
        """``dvc`` with these arguments."""
        return self.run(".venv/bin/dvc", *arguments, **options)

    def cytoline(self, *arguments: str, **options: Any) -> Done:
        """The ``cytoline`` command of this copy."""
        start = "from cytoline.cli import main; main()"
        return self.run(".venv/bin/python", "-c", start, *arguments, **options)

    def change_yaml(self, file: str, changes: Mapping[str, object]) -> None:
        """Set dotted keys of a YAML file.  A key that is not there is an error: the file has moved on."""
        path = self.root / file
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            section = content
            for part in parents:
                section = section[part]
            if last not in section:
                raise KeyError(f"{file} has no {dotted}")
            section[last] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def digests(self, folder: str) -> dict[str, str]:
        """sha256 of every file below ``folder``, by relative path."""
        top = self.root / folder
        return {
            path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(top.rglob("*"))
            if path.is_file()
        }

    @property
    def key(self) -> Path:
        """Where this copy's pseudonym key is."""
        return self.root.with_name(self.root.name + ".key")

    def _with_packages(self) -> Workplace:
        """Installed packages of this environment, and a known key: the split follows pseudonyms, figures follow it."""
        self.key.write_text(
            hashlib.sha256(b"cytoline benchmarks: protects nobody").hexdigest() + "\n", encoding="ascii"
        )
        self.key.chmod(0o600)
        (self.root / ".venv").symlink_to(Path(sys.prefix).resolve())
        return self


def _heed_interrupts() -> None:
    """A shell starts background jobs (and so perhaps this one) deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class PeakMemory:
    """Remembers the largest memory of a process and all its children, each shared page counted once."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, process: psutil.Process) -> None:
        total = 0
        try:
            for member in [process, *process.children(recursive=True)]:
                total += _memory(member)
        except psutil.NoSuchProcess:
            return
        self.bytes = max(self.bytes, total)


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(full, "pss", 0) or full.rss)
