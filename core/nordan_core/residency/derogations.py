"""A derogation: leave for named subjects to fall short of one facet, for a time, under two signatures.

Here is what a derogation says, which texts are acceptable and whom it covers. Whether it counts at an instant is asked
by `widening` at each judgement, so that it ends by itself. Two approvals and counted uses are the store's to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import combinations

from nordan_core.residency.canonical import digest_of
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import UNENFORCED, Policy
from nordan_core.residency.hints import did_you_mean
from nordan_core.residency.joins import DEROGABLE
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import facet_document, parse_policy
from nordan_core.residency.reading import (
    print_instant,
    read_flag,
    read_instant,
    read_integer,
    read_list,
    read_mapping,
    read_text,
    read_word,
)

LONGEST = timedelta(days=30)
LONGEST_BREAK_GLASS = timedelta(hours=4)
MOST_USES = 10_000
MOST_SUBJECTS = 100
LONGEST_TEXT = 4_000
MOST_COMBINED = 6
"""Of so many that cover one job, each way to use some is tried: 62. More are most unusual."""
APPROVALS = 2
"""Approvers who are neither each other nor who asked."""

_FIELDS = (
    *("id", "project", "facet", "to", "subjects", "not_before", "not_after", "max_uses", "break_glass"),
    *("basis", "reason", "ticket", "requested_by"),
)


class SubjectKind(StrEnum):
    """What a derogation may be for. There are no wildcards: each subject is one thing with an id."""

    PROJECT = "project"
    """All that its jobs meet, whoever stated it."""
    DATASET = "dataset"
    """What this dataset states, in whichever job of the project reads it; other layers hold as before."""
    JOB = "job"
    """All that one job meets."""


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """One thing that a derogation is for."""

    kind: SubjectKind
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Derogation:
    """What was asked for and, once two have approved its digest, holds."""

    id: str
    project: str
    """Id of the project that all subjects belong to."""
    facet: str
    to: Policy
    """States `facet` alone: what will be enough in place of what the policy asks."""
    subjects: tuple[Subject, ...]
    not_before: datetime
    not_after: datetime
    """The first instant at which it no longer counts, for running work too."""
    max_uses: int
    """How many attempts may rest on it."""
    is_break_glass: bool
    basis: str
    """The ground in law or contract that whoever asks relies on."""
    reason: str
    ticket: str
    requested_by: str
    digest: str = field(init=False)
    """SHA-256 of the exact text: what approvers approve."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest_of(derogation_document(self)))

    def holds_at(self, instant: datetime) -> bool:
        """Return whether it counts at `instant`."""
        return self.not_before <= instant < self.not_after


@dataclass(frozen=True, slots=True)
class Bearings:
    """What a derogation's subjects are compared with: one job, its project, and the datasets that it reads."""

    project: str
    job: str | None
    """None while a job is only being submitted."""
    datasets: Mapping[str, str]
    """Id of the dataset by the name of the input that speaks for it."""


@dataclass(frozen=True, slots=True)
class Covering:
    """A derogation with those layers of one effective policy that it covers."""

    derogation: Derogation
    inputs: frozenset[str] | None
    """Names of the inputs that it covers; None: everything that the policy asks, defaults included."""

    def holds_at(self, instant: datetime) -> bool:
        """Return whether the derogation counts at `instant`."""
        return self.derogation.holds_at(instant)


def covering(derogation: Derogation, bearings: Bearings) -> Covering | None:
    """Return what of a job a derogation covers; None when it is for others."""
    if derogation.project != bearings.project:
        return None
    named = set(derogation.subjects)
    if Subject(SubjectKind.PROJECT, bearings.project) in named or (
        bearings.job is not None and Subject(SubjectKind.JOB, bearings.job) in named
    ):
        return Covering(derogation, None)
    inputs = {name for name, dataset in bearings.datasets.items() if Subject(SubjectKind.DATASET, dataset) in named}
    return Covering(derogation, frozenset(inputs)) if inputs else None


def coverings(derogations: Iterable[Derogation], bearings: Bearings) -> tuple[Covering, ...]:
    """Return what of a job each of some derogations covers, in order of their ids; those for others are left out."""
    ordered = sorted(derogations, key=lambda one: one.id)
    return tuple(found for one in ordered if (found := covering(one, bearings)) is not None)


def fewest(covered: Iterable[Covering], is_enough: Callable[[tuple[Covering, ...]], bool]) -> tuple[Covering, ...]:
    """Return the fewest derogations that are enough together, the first such in their order; none where all are not.

    So none is used up without need: of very many, perhaps not the fewest, but each is needed. That all are asked first
    spares the search where no derogation helps; a derogation never takes anything away.
    """
    every = tuple(covered)
    if not every or not is_enough(every):
        return ()
    return next((some for some in fewer(every) if is_enough(some)), None) or needed(every, is_enough)


def needed(covered: Sequence[Covering], is_enough: Callable[[tuple[Covering, ...]], bool]) -> tuple[Covering, ...]:
    """Return what is left of derogations that are enough, and that no `fewer` are, without those that are not needed.

    The newest is left out first.
    """
    left = tuple(covered)
    if len(left) <= MOST_COMBINED:
        return left
    for one in reversed(covered):
        without = tuple(other for other in left if other is not one)
        if is_enough(without):
            left = without
    return left


def fewer(covered: Sequence[Covering]) -> Iterator[tuple[Covering, ...]]:
    """Yield the ways to use some derogations and not all, the fewest first; of very many, each alone."""
    sizes = len(covered) if len(covered) <= MOST_COMBINED else 2
    for size in range(1, sizes):
        yield from combinations(covered, size)


def derogation_document(derogation: Derogation) -> dict[str, object]:
    """Return the exact text as JSON values: what is digested, approved, stored and printed in certificates."""
    return {
        "id": derogation.id,
        "project": derogation.project,
        "facet": derogation.facet,
        "to": facet_document(derogation.to, derogation.facet),
        "subjects": [f"{one.kind}/{one.id}" for one in derogation.subjects],
        "not_before": print_instant(derogation.not_before),
        "not_after": print_instant(derogation.not_after),
        "max_uses": derogation.max_uses,
        "break_glass": derogation.is_break_glass,
        "basis": derogation.basis,
        "reason": derogation.reason,
        "ticket": derogation.ticket,
        "requested_by": derogation.requested_by,
    }


def parse_derogation(document: Mapping[str, object], atlas: Atlas) -> Derogation:
    """Return the derogation that a text states.

    Raises:
        PolicyError: for the first fault, with its field: an unknown facet, one that nobody may widen, no subject, an
            end too far away.
    """
    entry = read_mapping(document, "", _FIELDS)
    facet = read_facet(entry.get("facet"))
    is_break_glass = read_flag(entry.get("break_glass", False), "break_glass")
    begins, ends = (
        read_instant(entry.get("not_before"), "not_before"),
        read_instant(entry.get("not_after"), "not_after"),
    )
    _check_length(begins, ends, is_break_glass=is_break_glass)
    subjects = _subjects(entry.get("subjects"))
    if facet == "egress" and any(one.kind is SubjectKind.DATASET for one in subjects):
        raise PolicyError("subjects", "egress is asked of a whole job; name the job or the project")
    return Derogation(
        id=read_text(entry.get("id"), "id"),
        project=read_text(entry.get("project"), "project"),
        facet=facet,
        to=_read_to(facet, entry.get("to"), atlas),
        subjects=subjects,
        not_before=begins,
        not_after=ends,
        max_uses=read_integer(entry.get("max_uses"), "max_uses", low=1, high=MOST_USES),
        is_break_glass=is_break_glass,
        basis=_prose(entry, "basis"),
        reason=_prose(entry, "reason"),
        ticket=_prose(entry, "ticket"),
        requested_by=read_text(entry.get("requested_by"), "requested_by"),
    )


def read_facet(value: object) -> str:
    """Return the name of a facet that may be widened.

    Raises:
        PolicyError: it is none.
    """
    name = read_text(value, "facet")
    if name not in DEROGABLE:
        raise PolicyError(
            "facet", f"{name!r} cannot be widened; one of {', '.join(DEROGABLE)}{did_you_mean(name, DEROGABLE)}"
        )
    return name


def read_subject(text: object, field: str) -> tuple[SubjectKind, str]:
    """Return kind and name of a subject such as `dataset/patients`.

    Raises:
        PolicyError: it is written otherwise.
    """
    kind, slash, name = read_text(text, field).partition("/")
    if not slash or not name or "*" in name:
        raise PolicyError(field, "name one thing, such as dataset/patients, job/job_… or project/default")
    return SubjectKind(read_word(kind, field, tuple(one.value for one in SubjectKind))), name


def _check_length(begins: datetime, ends: datetime, *, is_break_glass: bool) -> None:
    if ends <= begins:
        raise PolicyError("not_after", "it ends before it begins")
    if is_break_glass and ends - begins > LONGEST_BREAK_GLASS:
        raise PolicyError("not_after", "break-glass lasts at most 4 hours; ask for an ordinary derogation")
    if ends - begins > LONGEST:
        raise PolicyError("not_after", "a derogation lasts at most 30 days; after that, ask again or change the policy")


def _subjects(value: object) -> tuple[Subject, ...]:
    entries = read_list(value, "subjects")
    if not 1 <= len(entries) <= MOST_SUBJECTS:
        raise PolicyError("subjects", f"name from 1 to {MOST_SUBJECTS} subjects")
    return tuple(sorted({Subject(*read_subject(one, f"subjects.{place}")) for place, one in enumerate(entries)}))


def _read_to(facet: str, value: object, atlas: Atlas) -> Policy:
    try:
        policy = parse_policy({facet: value}, atlas)
    except PolicyError as error:
        raise PolicyError(".".join(("to", *error.field.split(".")[1:])), error.message) from None
    if policy.egress == UNENFORCED:
        raise PolicyError("to", f"only the owner of data accepts that egress is {UNENFORCED}; state it on the dataset")
    return policy


def _prose(entry: Mapping[str, object], field: str) -> str:
    text = read_text(entry.get(field), field)
    if len(text) > LONGEST_TEXT:
        raise PolicyError(field, f"{len(text)} characters, at most {LONGEST_TEXT}")
    return text
