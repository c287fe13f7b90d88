"""Policies, worlds and atlases read from files, for verbs that judge without a server.

What is wrong in a file is wrong use: exit 2, with the file, the field and what would be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nordan_cli import jobfile
from nordan_cli.errors import WrongUse
from nordan_core.atlas.loader import default_atlas
from nordan_core.documents import parse_job
from nordan_core.domain.errors import Invalid
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.facets import FACETS, UNENFORCED, Policy
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import SHORTHAND, parse_policy
from nordan_core.residency.reading import read_instant
from nordan_core.world import OrganisationDocument, ProjectDocument, check_codes, parse_world
from nordan_core.world_facts import WorldState, check_references, state_of

#: As large as the api takes; a policy that needs more is a mistake.
MAX_POLICY_BYTES = 256 * 1024
MAX_ATLAS_BYTES = 16 * 1024 * 1024
_FLOORS = ("Organisation", "Project")


@dataclass(frozen=True, slots=True)
class JobLayer:
    """What a job says of its own law, and whether it brings anything that has to be protected."""

    layer: Layer
    has_content: bool


def read_atlas(path: Path | None) -> Atlas:
    """Return the atlas of a file; the packaged one where none is given."""
    if path is None:
        return default_atlas()
    with _of(path):
        return parse_atlas(_bytes(path, MAX_ATLAS_BYTES))


def read_instant_option(text: str | None, now: datetime) -> datetime:
    """Return the instant that `--at` says, `now` where it says nothing."""
    if text is None:
        return now
    try:
        return read_instant(text, "--at")
    except Invalid as error:
        raise WrongUse(f"--at: {error.message}") from None


def read_policies(path: Path, atlas: Atlas) -> list[Layer]:
    """Return the policies of a file as what an owner of data or a floor states: bare ones, or floors of a world."""
    with _of(path):
        documents = jobfile.load_all(path, MAX_POLICY_BYTES)
        if not documents:
            raise WrongUse(f"{path} holds no policy")
        return [_layer(document, path, atlas) for document in documents]


def read_policy(path: Path, atlas: Atlas) -> Policy:
    """Return the one policy that a file states."""
    layers = read_policies(path, atlas)
    if len(layers) != 1:
        raise WrongUse(f"{path} holds {len(layers)} policies; one is wanted")
    return layers[0].policy


def read_job(path: Path, atlas: Atlas) -> JobLayer:
    """Return what a job document says, or a bare policy in a job's place."""
    with _of(path):
        document = jobfile.load(path, MAX_POLICY_BYTES)
        if _is_policy(document):
            return JobLayer(Layer(LayerKind.JOB, path.name, parse_policy(document, atlas)), has_content=False)
        # Files are listed by path here; digests come when they are sent.
        files = document.pop("files", None)
        spec = parse_job(document)
        return JobLayer(
            Layer(LayerKind.JOB, spec.name, _under("policy", spec.policy, atlas)),
            has_content=bool(files or spec.inputs),
        )


def read_world(path: Path, atlas: Atlas) -> WorldState:
    """Return the world of a file, checked as `nordan admin apply` checks it."""
    with _of(path):
        documents = parse_world(list(jobfile.load_all(path)))
        for place, document in enumerate(documents):
            check_codes(document.stored(), atlas, f"documents.{place}")
        world = state_of(documents)
        check_references(world)
        return world


def together(owners: Sequence[Layer], job: JobLayer | None) -> Effective:
    """Return the effective policy of all layers.

    Raises:
        WrongUse: the job says what only an owner may say.
    """
    layers = [*owners, job.layer] if job else owners
    try:
        return effective(layers, has_content=job is not None and job.has_content)
    except Invalid as error:
        raise WrongUse(error.message) from None


def _layer(document: Mapping[str, Any], path: Path, atlas: Atlas) -> Layer:
    if document.get("kind") in _FLOORS:
        (parsed,) = parse_world([document])
        if isinstance(parsed, OrganisationDocument | ProjectDocument):
            kind = LayerKind(parsed.kind.lower())
            return Layer(kind, parsed.name, _under("floor", parsed.floor or {}, atlas))
    policy = parse_policy(document, atlas)
    # Only an owner of data may waive the guard of egress, so whoever does is one. Anything else a floor may say too.
    kind = LayerKind.INPUT if policy.egress == UNENFORCED else LayerKind.PROJECT
    return Layer(kind, path.name, policy)


def _under(field: str, document: Mapping[str, Any], atlas: Atlas) -> Policy:
    try:
        return parse_policy(document, atlas)
    except Invalid as error:
        raise Invalid(f"{field}.{error.field}".rstrip("."), error.message) from None


def _is_policy(document: Mapping[str, Any]) -> bool:
    return all(key in FACETS or key == SHORTHAND for key in document)


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > most:
        raise WrongUse(f"{path} is over {most // 1024} KiB")
    return data


@contextmanager
def _of(path: Path) -> Iterator[None]:
    try:
        yield
    except Invalid as error:
        raise WrongUse(
            f"{path}: {error.field}: {error.message}" if error.field else f"{path}: {error.message}"
        ) from None
