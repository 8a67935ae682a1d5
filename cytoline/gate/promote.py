"""``cytoline promote``: the alias ``champion`` moves only through a passed gate and the needed approvals.

What is judged is never the work tree: the figures and cases of the commit that recorded the candidate are compared with
those of the commit that recorded the champion, by the rules of the commit that is checked out now.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cytoline import provenance
from cytoline.audit.revision import Revision
from cytoline.errors import CytolineError
from cytoline.gate import outputs, promotions
from cytoline.gate.judge import Verdict, failures, judge, judge_floors
from cytoline.gate.promotions import Promotion, Reason
from cytoline.gate.registry import Registry, Version, recording_commit
from cytoline.gate.revision import read_revision
from cytoline.gate.rules import GateParams, abnormal_classes
from cytoline.params import load_seed

EXIT_REFUSED = 1
APPROVALS = Path("approvals/approvals.jsonl")
KEYS = "approvals/keys"
POLICY = "approvals/policy.yaml"
TAG = "cytoline.promotion"


@dataclass(frozen=True)
class Decision:
    """What was judged, and what came of it."""

    version: Version
    previous: int | None
    commit: str
    baseline: str | None
    rules: str
    verdicts: tuple[Verdict, ...]
    gate: str
    """sha256 of the gate's answer."""
    approvals: str | None
    reasons: tuple[str, ...]
    """Why the approvals do not suffice; empty where they do."""

    @property
    def passed(self) -> bool:
        """Whether the alias may move."""
        return not failures(self.verdicts) and not self.reasons


def promote(
    model: Annotated[
        str, typer.Argument(help="registered model: NAME (its alias candidate), NAME@ALIAS, NAME/VERSION")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="git revision to compare with; default: the commit of the present champion")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="back to the champion before this one")] = False,
    reason: Annotated[Reason | None, typer.Option(help="why it is taken back (with --rollback)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Make a registered model the champion, if the gate and the approvals let it.

    The figures of the commit that recorded the model are held against those of the champion's commit, by the rules
    under `gate:` in params.yaml; then the needed approvals are asked for. The decision is written to
    approvals/promotions.jsonl (commit it) and to tags of the version; then MLflow's alias `champion` moves. A first
    champion has nothing to be compared with: it must reach every floor (`limit`) instead.

    Exit code 0: it is the champion; 1: the gate or the approvals refuse it; 2: something needed is missing.
    """
    if rollback != (reason is not None):
        raise CytolineError("--rollback and --reason belong together", "say why: `--rollback --reason worse_in_use`")
    if rollback and baseline is not None:
        raise CytolineError("a rollback compares nothing", "leave --baseline out")
    registry = Registry()
    if reason is not None:
        _tell_rollback(take_back(registry, model.partition("@")[0].partition("/")[0], reason), as_json)
        return
    decision = judged(registry, model, baseline)
    if decision.passed:
        carry_out(registry, decision)
    _tell(decision, as_json)
    if not decision.passed:
        raise typer.Exit(EXIT_REFUSED)


def judged(registry: Registry, ref: str, baseline: str | None, top: Path = Path()) -> Decision:
    """Everything that is asked before the alias moves; nothing is written."""
    rules = _clean_commit(top)
    version = registry.find(ref)
    champion = _believed_champion(registry, version)
    if champion is not None and champion.version == version.number:
        champion = _before(champion, top)
    recorded = recording_commit(version, registry.digest_of_files(version), top)
    against = Revision.at(baseline, top).commit if baseline else champion.commit if champion else None
    verdicts = _verdicts(str(recorded.commit), against, top)
    reasons, approvals = _approvals(version, top)
    return Decision(
        version,
        None if champion is None else champion.version,
        str(recorded.commit),
        against,
        rules,
        tuple(verdicts),
        hashlib.sha256(outputs.as_json(verdicts, against or "floors").encode()).hexdigest(),
        approvals,
        reasons,
    )


def carry_out(registry: Registry, decision: Decision, top: Path = Path()) -> Promotion:
    """Log, tags, alias, in this order: whatever stops it half-way, the same command ends it."""
    row = Promotion(
        action="promote",
        model=decision.version.model,
        version=decision.version.number,
        previous=decision.previous,
        digest=decision.version.tags["cytoline.model.digest"],
        commit=decision.commit,
        baseline=decision.baseline,
        rules=decision.rules,
        gate=decision.gate,
        approvals=decision.approvals,
        time=promotions.now(),
    )
    standing = promotions.champions(promotions.read_promotions(top), row.model)
    if standing and standing[-1].version == row.version:
        row = standing[-1]  # what was decided then
    else:
        promotions.append(row, top)
    registry.crown(decision.version, _tags(row))
    return row


def take_back(registry: Registry, model: str, reason: Reason, top: Path = Path()) -> Promotion:
    """The champion before the present one is champion again.  It passed its gate then; nothing is judged anew."""
    rows = promotions.read_promotions(top)
    standing, served = promotions.champions(rows, model), registry.champion(model)
    last = next((row for row in reversed(rows) if row.model == model), None)
    if last is not None and last.action == "rollback" and served == last.previous:
        return _reinstate(registry, last)  # one that was interrupted between log and alias
    if len(standing) < 2:
        raise CytolineError(
            f"{model} has no earlier champion to go back to",
            "remove the alias `champion` in MLflow if nothing is to serve, or promote another version",
        )
    now, before = standing[-1], standing[-2]
    version = registry.find(f"{model}/{before.version}")
    if version.tags.get("cytoline.model.digest") != before.digest or registry.digest_of_files(version) != before.digest:
        raise CytolineError(
            f"{version.ref} is no longer the model that was champion (its hash differs)",
            f"restore MLflow's store, or take the files of commit {before.commit[:12]}: `dvc get . models --rev ...`",
        )
    row = Promotion(
        action="rollback",
        model=model,
        version=before.version,
        previous=now.version,
        digest=before.digest,
        commit=before.commit,
        baseline=None,
        rules=None,
        gate=None,
        approvals=before.approvals,
        reason=reason,
        time=promotions.now(),
    )
    if served != now.version:
        raise _moved_by_hand(model, now.version)
    promotions.append(row, top)
    return _reinstate(registry, row)


def _reinstate(registry: Registry, row: Promotion) -> Promotion:
    version = registry.find(f"{row.model}/{row.version}")
    registry.crown(version, {f"{TAG}.reinstated": str(row.reason), f"{TAG}.replaced": str(row.previous)})
    return row


def _clean_commit(top: Path) -> str:
    state = provenance.git_state()
    if state.commit == "unknown":
        raise CytolineError("this is no git repository", "run from the top of the repository")
    if state.dirty:
        raise CytolineError(
            "the work tree has changes that no commit holds: nobody could repeat this decision",
            "commit or undo them (`git status`); only metrics and reports may be ahead of the commit",
        )
    if changed := _uncommitted(Revision.at(state.commit, top)):
        raise CytolineError(
            f"{changed[0]} is not what the commit holds: a rule or an approval that is in no commit leaves no trace",
            "commit it, so that it can be seen who changed what (`git status approvals`)",
        )
    return state.commit


def _uncommitted(commit: Revision) -> list[str]:
    """What approvals rest on and the commit does not hold in this form: policy, keys, the log itself."""
    now = Revision.work_tree(commit.top)
    keys = [f"{KEYS}/{path.name}" for path in sorted((commit.top / KEYS).glob("*"))]
    names = {POLICY, APPROVALS.as_posix(), *keys, *commit.files(KEYS)}
    return sorted(name for name in names if commit.read(name) != now.read(name))


def _believed_champion(registry: Registry, candidate: Version) -> Promotion | None:
    """The champion, on which MLflow and the log agree.  They may differ by the one move that was interrupted."""
    standing = promotions.champions(promotions.read_promotions(), candidate.model)
    logged, served = standing[-1] if standing else None, registry.champion(candidate.model)
    if served == (logged.version if logged else None):
        return logged
    if logged is not None and logged.version == candidate.number and served == logged.previous:
        return logged
    raise _moved_by_hand(candidate.model, logged.version if logged else None)


def _before(champion: Promotion, top: Path) -> Promotion | None:
    standing = promotions.champions(promotions.read_promotions(top), champion.model)
    return standing[-2] if len(standing) > 1 else None


def _moved_by_hand(model: str, version: int | None) -> CytolineError:
    right = f"set {model}@champion back to version {version}" if version else f"delete the alias {model}@champion"
    return CytolineError(
        f"the alias {model}@champion was moved past this command: {promotions.PROMOTIONS} knows another champion",
        f"{right} in MLflow, then promote",
    )


def _verdicts(commit: str, baseline: str | None, top: Path) -> Sequence[Verdict]:
    params, current = GateParams.load(top / "params.yaml"), read_revision(commit, top)
    if baseline is None:
        return judge_floors(current, params)
    return judge(read_revision(baseline, top), current, params, load_seed(), abnormal_classes(top))


def _approvals(version: Version, top: Path) -> tuple[tuple[str, ...], str | None]:
    """Why approvals do not suffice (empty: they do), and the hash of the file they were read from."""
    standing: Callable[..., Any] = importlib.import_module("cytoline.audit.approvals").standing

    # By path where the work tree holds this very model, else by its name in the registry.
    digest = version.tags["cytoline.model.digest"]
    outs = [out for stage in Revision.work_tree(top).stages.values() for out in stage.outs]
    ref = next((out.path for out in outs if out.md5 == digest), version.ref)
    state = standing(ref, top)
    path = top / APPROVALS
    told = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    reasons = tuple(str(reason) for reason in state.reasons)
    return (() if state.met else reasons or ("approvals are missing",)), told


def _tags(row: Promotion) -> dict[str, str]:
    told = {
        "gate": row.gate,
        "approvals": row.approvals or "none",
        "previous": str(row.previous or "none"),
        "baseline": row.baseline or "none",
        "commit": row.commit,
        "time": row.time,
    }
    return {f"{TAG}.{key}": str(value) for key, value in told.items()}


def _tell(decision: Decision, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {
            "promoted": decision.passed,
            "model": decision.version.model,
            "version": decision.version.number,
            "previous": decision.previous,
            "commit": decision.commit,
            "baseline": decision.baseline,
            "gate": {"passed": not failures(decision.verdicts), "sha256": decision.gate},
            "rules": [{"failed": item.failed} | vars(item) for item in decision.verdicts],
            "approvals": {"met": not decision.reasons, "reasons": decision.reasons, "sha256": decision.approvals},
        }
        typer.echo(json.dumps(told, indent=1))
        return
    against = "floors alone: there is no champion yet" if decision.baseline is None else decision.baseline[:12]
    outputs.print_table(decision.verdicts, f"{decision.version.ref} ({decision.commit[:12]}) against {against}")
    console = Console(highlight=False, soft_wrap=True)
    for reason in decision.reasons:
        console.print(Text.assemble(("FAIL ", "bold red"), f"approvals: {reason}"))
    if decision.passed:
        before = "the first" if decision.previous is None else f"before it: version {decision.previous}"
        console.print(Text.assemble((f"{decision.version.ref} is the champion", "bold green"), f" ({before})."))
        console.print(f"The decision is the last line of {promotions.PROMOTIONS}: commit it.", markup=False)
    else:
        console.print(Text.assemble((f"{decision.version.ref} was not promoted", "bold red"), "; nothing was changed."))


def _tell_rollback(row: Promotion, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"promoted": True, **row.model_dump(mode="json")}, indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{row.model}/{row.version} is the champion again, in place of version {row.previous}.", markup=False)
    console.print(f"The decision is the last line of {promotions.PROMOTIONS}: commit it.", markup=False)
