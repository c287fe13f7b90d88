"""A policy document out of a file and flags. It stays symbolic: the server knows what the codes mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

PolicyFile = Annotated[Path | None, typer.Option("--policy", metavar="FILE", help="Policy as YAML.")]
Residency = Annotated[
    str | None, typer.Option(metavar="CODES", help="Where it may be processed, stored, described and keyed: FR,SE.")
]
ForbidExposure = Annotated[
    str | None, typer.Option(metavar="CODES", help="States that must not be able to compel the operators: US.")
]
Egress = Annotated[str | None, typer.Option(metavar="NAMES", help="Named endpoints, none, or unenforced.")]
Class = Annotated[
    str | None, typer.Option("--class", metavar="CLASS", help="public, internal, confidential or restricted.")
]


def build(
    file: Path | None,
    *,
    residency: str | None = None,
    forbid_exposure: str | None = None,
    egress: str | None = None,
    klass: str | None = None,
) -> dict[str, Any]:
    """Return the file's policy with the flags put over it; empty when nothing was said.

    Raises:
        WrongUse: the file is not a YAML mapping.
    """
    from nordan_cli import jobfile  # noqa: PLC0415  YAML only where a file is read

    policy = jobfile.load(file) if file else {}
    if residency is not None:
        policy["residency"] = codes(residency)
    if forbid_exposure is not None:
        policy["forbid_exposure"] = codes(forbid_exposure)
    if egress is not None:
        policy["egress"] = {"unenforced": "unenforced", "none": []}.get(egress, codes(egress))
    if klass is not None:
        policy["class"] = klass
    return policy


def codes(text: str) -> list[str]:
    """Split `FR,SE`. Nothing is folded or guessed: what is wrong reaches the server as it was written."""
    return text.split(",") if text else []
