"""The independent validators of the package's formats, run without a network: each gives the list of what fails."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path

from cytoline.audit.package import contexts, layout

PROFILE = "provenance-run-crate-0.5"


def crate_failures(folder: Path) -> list[str]:
    """Required checks of Provenance Run Crate and all that it builds on (``roc-validator``) that fail."""
    from rocrate_validator import services
    from rocrate_validator.models import Severity, ValidationSettings

    logging.getLogger("rocrate_validator").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as here:
        cache, plain = Path(here) / "http", Path(here).resolve() / "crate"
        contexts.seed(cache)
        plain.symlink_to(folder.resolve())  # a path that is also a plain URI: no blank, no `#`, no `..`
        settings = ValidationSettings(
            rocrate_uri=str(plain),
            profile_identifier=PROFILE,
            requirement_severity=Severity.REQUIRED,
            cache_path=cache,
            offline=True,
        )
        result = services.validate(settings)
        return sorted(f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues(Severity.REQUIRED))


def bom_failures(folder: Path) -> list[str]:
    """What the strict JSON schema of CycloneDX 1.6 refuses."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (folder / layout.BOM).read_text(encoding="utf-8")
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True)
    return [str(getattr(one, "data", one))[:300] for one in found or ()]


def croissant_failures(folder: Path) -> list[str]:
    """What ``mlcroissant`` refuses, and rows that cannot be read through the description."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        import mlcroissant as mlc

        try:
            found = mlc.Dataset(jsonld=folder / layout.CROISSANT)
            for name in ("images", "parts"):
                next(iter(found.records(name)), None)
        except Exception as error:  # the library raises many kinds
            return [" ".join(str(error).split())[:300]]
        return sorted(found.metadata.ctx.issues.errors)
