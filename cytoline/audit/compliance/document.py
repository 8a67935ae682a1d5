"""``docs/compliance.md``: the maps as a page.  No hashes: they change with every commit and stand in the packages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cytoline.audit.compliance.resolver import OWNER_FILE, Answer, Resolved, Shown
from cytoline.audit.compliance.soup import Package

PAGE = "docs/compliance.md"
_HEAD = f"""# What is asked, and what this repository can show

Written by `cytoline audit compliance --write` from `cytoline/audit/compliance/*.yaml`; do not edit it. Every row is
looked up in the repository: it is **filled** when all of its evidence is there, otherwise **EMPTY** (or **INCOMPLETE**,
where some is). `cytoline audit compliance --check` fails a build on rows marked *build*, `--check --release` also on
those marked *release*. What only a team can know stands in `{OWNER_FILE}`.

This supports an audit. It is no legal advice, and a filled row is no statement of conformity: somebody who answers for
the model must judge the evidence. What a clause asks for is told in our words; the law and the checklists are the
authority.
"""


def document(resolved: Sequence[Resolved], software: Sequence[Package]) -> str:
    """The page as Markdown."""
    parts = [_HEAD, _overview(resolved), *(_map(one) for one in resolved), _soup(software)]
    return "\n".join(parts)


def _overview(resolved: Iterable[Resolved]) -> str:
    rows = [
        f"| {one.framework.name} | {one.count('filled')} | {one.count('empty')} | {one.count('not applicable')} |"
        for one in resolved
    ]
    return "\n".join(["| map | filled | empty | not applicable |", "|---|---|---|---|", *rows, ""])


def _map(one: Resolved) -> str:
    lines = [f"## {cell(one.framework.name)}", "", f"<{one.framework.source}>", ""]
    if one.framework.note:
        lines += [one.framework.note.strip(), ""]
    lines += ["| row | asks for | state | required | evidence |", "|---|---|---|---|---|"]
    lines += [_row(answer) for answer in one.answers]
    return "\n".join([*lines, ""])


def _row(answer: Answer) -> str:
    state = f"**{answer.word.upper()}**" if answer.state == "empty" else answer.state
    needed = "" if answer.row.required == "no" else answer.row.required
    shown = "<br>".join(_shown(one) for one in answer.evidence)
    return f"| {cell(answer.row.id)} | {cell(answer.row.asks)} | {state} | {needed} | {shown} |"


def _shown(one: Shown) -> str:
    if one.kind in ("gap", "na"):
        return cell(one.what)
    name = f"`cytoline {one.what}`" if one.kind == "command" else f"`{one.what}`"
    text = f"{name}: {cell(one.says)}" if one.says else name
    return text if one.found else f"**missing** {text}" if one.kind != "owner" else f"**owner must fill** {text}"


def _soup(software: Sequence[Package]) -> str:
    lines = [
        "## IEC 62304: software of unknown provenance (5.3.3, 7.1.3, 8.1.2)",
        "",
        "<https://www.iec.ch/homepage> (IEC 62304:2006 + A1:2015)",
        "",
        "Name and version from `requirements.lock`, licence as the installed package states it, purpose from",
        "`requirements.in`. Requirements on each item and its published anomalies are the manufacturer's to judge.",
        "",
        "| package | version | licence | purpose |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {cell(one.name)} | {cell(one.version)} | {cell(one.licence)} | {cell(one.purpose)} |" for one in software
    ]
    return "\n".join([*lines, ""])


def cell(text: str) -> str:
    """Text that cannot break out of a cell of a Markdown table."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())
