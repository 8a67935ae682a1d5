"""Erasure of one patient from a real project: git, DVC with two remotes, MLflow, two versions; judged by a searcher of
its own (``benchmarks.audit.searching``), which is shown to see every store before it is believed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.audit.project import build, inside
from benchmarks.audit.searching import count_collateral, count_left
from benchmarks.audit.truth import HER, Truth
from cytoline.audit.erasure import execute
from cytoline.audit.erasure.command import erase as erase_command
from cytoline.audit.erasure.execute import LAST, STEPS
from cytoline.audit.erasure.plan import make_plan
from cytoline.audit.erasure.run import erase

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1200)]

app = typer.Typer()
app.command()(erase_command)

EVERYWHERE = {"cache", "remote", "secure", "private", "memo", "resume", "mlflow", "project"}
CLEANED_BY = {
    "empty_stores": {"cache", "remote", "secure"},
    "empty_tracking": {"mlflow"},
    "empty_caches": {"memo", "resume"},
    "forget_names": {"private"},
    "clean_incoming": {"project"},
}
"""Step -> places that nothing else cleans (``clean_work_tree`` shares the project's folder with ``clean_incoming``)."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """The project, made once; each test unpacks it at the same place again, for MLflow keeps whole paths."""
    home = tmp_path_factory.mktemp("erasing")
    truth = build(home / "p")
    with tarfile.open(home / "saved.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(home.glob("p*")):
            archive.add(path, path.name)
    return home, truth


@pytest.fixture
def project(built: tuple[Path, Truth]) -> Path:
    """The project as it was made."""
    home, _ = built
    for path in home.glob("p*"):
        shutil.rmtree(path)
    with tarfile.open(home / "saved.tar") as archive:
        archive.extractall(home, filter="fully_trusted")
    return home / "p"


@pytest.fixture
def truth(built: tuple[Path, Truth]) -> Truth:
    """What is whose in it."""
    return built[1]


def test_every_step_is_needed_and_the_searcher_sees_each_place(project: Path, truth: Truth) -> None:
    """Before its step a place shows her, after it it does not: a step left out is found."""
    assert set(count_left(project, truth)) == EVERYWHERE
    with inside(project):
        plan = make_plan(truth.pseudonym, withdraw=False)
        execute._write_journal(plan)
        for step in (*STEPS, *LAST):
            places = CLEANED_BY.get(step.__name__, set())
            before = count_left(project, truth)
            step(plan)
            after = count_left(project, truth)
            assert places <= set(before)
            plan.journal.drop() if step.__name__ == "clean_incoming" else None
            after = count_left(project, truth) if step.__name__ == "clean_incoming" else after
            assert not places & set(after), step.__name__
            if step.__name__ == "clean_work_tree":
                assert 0 < after["project"] < before["project"]


def test_erased_after_an_interrupt_and_nobody_else_lost_anything(
    project: Path, truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run ends in the middle; the second goes on; a third finds nothing."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with inside(project):
        with monkeypatch.context() as patch:
            patch.setattr(execute, "STEPS", [*STEPS[:2], interrupted])
            with pytest.raises(KeyboardInterrupt):
                erase(truth.pseudonym, execute=True)
        journal = next(Path(".cytoline/erasure").iterdir()).read_text()
        assert HER not in journal
        outcome = erase(truth.pseudonym, execute=True)
        assert outcome.complete, outcome.proof
        assert outcome.certificate is not None
        text = outcome.certificate.read_text()
    certificate = json.loads(text)
    assert not count_left(project, truth)
    assert count_collateral(project, truth, certificate["kept_without_the_person"]) == []
    assert not any(word in text for word in (HER, truth.pseudonym, *truth.codes))
    assert {"cache", "remote shared", "remote secure"} <= {
        p.replace("DVC ", "") for p in certificate["proof"]["files_read"]
    }
    assert certificate["models"][0]["learned"]
    assert any(row["what"] == "shared files" for row in certificate["remains"])
    with inside(project):
        subprocess.run(["git", "add", "-A"], check=True)
        result = CliRunner().invoke(app, [truth.pseudonym, "--execute", "--yes", "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["plan"]["stores"] == {"DVC cache": 0, "remote secure": 0, "remote shared": 0}
        assert len(list(Path("certificates").glob("*.json"))) == 2


def test_the_plan_changes_nothing_and_needs_a_confirmation(project: Path, truth: Truth) -> None:
    with inside(project):
        before = {
            path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and ".cytoline" not in path.parts
        }
        planned = CliRunner().invoke(app, [truth.pseudonym])
        refused = CliRunner().invoke(app, [truth.pseudonym, "--execute"])
        after = {
            path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and ".cytoline" not in path.parts
        }
    assert planned.exit_code == 0
    assert "nothing was changed" in planned.stdout
    assert HER not in planned.stdout
    assert "nobody is there to confirm" in str(refused.exception)
    assert before == after
    with inside(project):
        Path(".dvc/config.local").write_text("['remote \"far\"']\n    url = s3://nowhere/x\n    version_aware = true\n")
        unsure = CliRunner().invoke(app, [truth.pseudonym, "--execute", "--yes"])
    assert "cannot be searched" in str(unsure.exception)
    assert count_left(project, truth)["secure"]  # nothing was erased
