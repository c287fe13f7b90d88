"""What a judged act writes down, so that whoever reads the log can judge it again, with the log and the atlas alone.

Written by api and scheduler into the bodies of their entries, read by `replay`. A judgement names what it was made of
by digest; the documents themselves are entries of the log, once for each digest. All policies must allow, by one
question: may it run on this pool, rest in this region, run anywhere, be read from this territory, be described here?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from nordan_core.proof.errors import ProofError
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_core.residency.judge import judge, judge_control_plane, judge_reader, judge_storage
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas

#: Subjects of the entries that hold documents, before the digest.
FACTS, POLICY, WORLD, ATLAS = "facts:", "policy:", "world:", "atlas:"


class Question(StrEnum):
    """What was asked of the judge."""

    RUN = "run"
    """On the one pool whose facts are named."""
    REST = "rest"
    """In a region: on the facts of any of its pools."""
    PLACE = "place"
    """Anywhere: on any of the pools named, or of the world named."""
    READ = "read"
    """By somebody in `territory`; None is a territory not on record."""
    DESCRIBE = "describe"
    """By this control plane; asked with each of the others, too, where its facts are named."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One answer of the judge, with the digests of all that it depended on."""

    question: Question
    allowed: bool
    at: datetime
    atlas: str
    policies: tuple[str, ...]
    control_plane: str = ""
    facts: tuple[str, ...] = ()
    world: str = ""
    """Names a list of facts that stands in the log once, instead of in each entry."""
    territory: str | None = None
    good_until: datetime | None = None
    """Relied on up to then at most."""
    is_withheld: bool = False
    """A policy may not be described here, so its text is not in the log and this cannot be judged again."""

    def document(self) -> dict[str, object]:
        """Return the judgement as JSON values; what does not apply is left out."""
        document: dict[str, object] = {
            "question": self.question.value,
            "allowed": self.allowed,
            "at": self.at.isoformat(),
            "atlas": self.atlas,
            "policies": list(self.policies),
        }
        more: dict[str, object] = {
            "control_plane": self.control_plane,
            "facts": list(self.facts),
            "world": self.world,
            "withheld": self.is_withheld,
            "good_until": None if self.good_until is None else self.good_until.isoformat(),
        }
        document |= {name: value for name, value in more.items() if value}
        if self.question is Question.READ:
            document["territory"] = self.territory
        return document


def read_judgement(document: object) -> Judgement:
    """Return the judgement that a body holds. The one facts of `run` may stand there as a text, as grants have it.

    Raises:
        ProofError: it lacks what judging it again would take.
    """
    if not isinstance(document, Mapping):
        raise ProofError("a judgement is an object")
    try:
        facts = document.get("facts", [])
        end = document.get("good_until")
        return Judgement(
            question=Question(document["question"]),
            allowed=_flag(document["allowed"]),
            at=_instant(document["at"]),
            atlas=_text(document["atlas"]),
            policies=_texts(document["policies"]),
            control_plane=_text(document.get("control_plane", "")),
            facts=(facts,) if isinstance(facts, str) else _texts(facts),
            world=_text(document.get("world", "")),
            territory=None if document.get("territory") is None else _text(document["territory"]),
            good_until=None if end is None else _instant(end),
            is_withheld=_flag(document.get("withheld", False)),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ProofError(f"the judgement does not say what it was made of: {error}") from error


class Documents(Protocol):
    """The documents of a log by digest, under one atlas. Each raises ProofError for one that is not there."""

    def policy(self, digest: str, atlas: Atlas) -> Effective:
        """Return a policy as it was judged."""

    def facts(self, digest: str, atlas: Atlas) -> PoolFacts:
        """Return facts of a pool."""

    def control_plane(self, digest: str, atlas: Atlas) -> ControlPlaneFacts:
        """Return facts of the control plane."""

    def world(self, digest: str) -> Sequence[str]:
        """Return the digests of all pools' facts at some epoch."""


def judge_again(judgement: Judgement, documents: Documents, atlas: Atlas) -> tuple[bool, datetime | None]:
    """Return whether it is allowed and until when, by the same judge on the recorded documents.

    Raises:
        ProofError, PolicyError: a document is missing, is another, or cannot be read.
    """
    if not judgement.policies:
        raise ProofError("the judgement names no policy")
    allowed = True
    ends: list[datetime | None] = []
    for digest in judgement.policies:
        policy = documents.policy(digest, atlas)
        if judgement.control_plane:
            described = judge_control_plane(
                policy, documents.control_plane(judgement.control_plane, atlas), atlas, judgement.at
            )
            allowed, ends = allowed and described.allowed, [*ends, described.good_until]
        answer, end = _ASKED[judgement.question](judgement, policy, documents, atlas)
        allowed, ends = allowed and answer, [*ends, end]
    return allowed, min((end for end in ends if end is not None), default=None)


Answer = tuple[bool, datetime | None]


def _run(judgement: Judgement, policy: Effective, documents: Documents, atlas: Atlas) -> Answer:
    [digest] = judgement.facts or ("",)
    verdict = judge(policy, documents.facts(digest, atlas), atlas, judgement.at)
    return verdict.allowed, verdict.good_until


def _rest(judgement: Judgement, policy: Effective, documents: Documents, atlas: Atlas) -> Answer:
    found = (documents.facts(digest, atlas) for digest in judgement.facts)
    return any(judge_storage(policy, facts, atlas, judgement.at).allowed for facts in found), None


def _place(judgement: Judgement, policy: Effective, documents: Documents, atlas: Atlas) -> Answer:
    digests = documents.world(judgement.world) if judgement.world else judgement.facts
    found = (documents.facts(digest, atlas) for digest in digests)
    return any(judge(policy, facts, atlas, judgement.at).allowed for facts in found), None


def _read(judgement: Judgement, policy: Effective, documents: Documents, atlas: Atlas) -> Answer:
    del documents
    return judge_reader(policy, judgement.territory, atlas, judgement.at).allowed, None


def _describe(judgement: Judgement, policy: Effective, documents: Documents, atlas: Atlas) -> Answer:
    del policy, documents, atlas
    if not judgement.control_plane:
        raise ProofError("the judgement does not say where the control plane stood")
    return True, None


_ASKED: Mapping[Question, Callable[[Judgement, Effective, Documents, Atlas], Answer]] = {
    Question.RUN: _run,
    Question.REST: _rest,
    Question.PLACE: _place,
    Question.READ: _read,
    Question.DESCRIBE: _describe,
}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("list of texts expected")
    return tuple(_text(one) for one in value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false expected")
    return value


def _instant(value: object) -> datetime:
    found = datetime.fromisoformat(_text(value))
    if found.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return found
