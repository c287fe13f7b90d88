"""The law in a certificate, read and judged again: policies, facts, verdicts, time bounds, outputs.

Called by `certificate`, to complete a new one and to verify one offline. Each check yields the faults that it finds
as sentences; none means that it holds. A document that cannot be read as law raises PolicyError or ProofError, which
the caller reports as the check's failure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

from nordan_core.proof.errors import ProofError
from nordan_core.proof.logged import ACCEPTED, sessions_of
from nordan_core.proof.place import place_of
from nordan_core.proof.records import AttemptRecord, Certificate, Document, JudgementRecord
from nordan_core.proof.tokens import SKEW_S
from nordan_core.residency.effective_text import parse_effective, repeats
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.facts_text import parse_control_plane, parse_pool_facts
from nordan_core.residency.judge import judge, judge_control_plane, judge_reader
from nordan_core.residency.layers import OWNERS, Effective, output_policy
from nordan_core.residency.levels import DataClass
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import meet, parse_policy, policy_digest
from nordan_core.residency.verdicts import FacetRefusal, Verdict

Faults = Iterator[str]
_SKEW = timedelta(seconds=SKEW_S)
_ENTERED = "that those who were let into running attempts took nothing to elsewhere: {who}"

#: The longest that an attempt may outlive its permission, by the class of its data.
LONGEST_BOUND_S = {
    DataClass.PUBLIC: 900.0,
    DataClass.INTERNAL: 900.0,
    DataClass.CONFIDENTIAL: 45.0,
    DataClass.RESTRICTED: 45.0,
}


class Law:
    """A certificate's documents, each read once, with the atlas under which it was judged by."""

    def __init__(self, certificate: Certificate, atlas: Atlas, earlier: Iterable[Atlas] = ()) -> None:
        self.certificate = certificate
        self._given = {one.digest: one for one in (atlas, *earlier)}
        self.atlas = self._given.get(certificate.versions.atlas_digest, atlas)
        """The one that the certificate names, where it was given."""
        judged = [one for attempt in certificate.attempts for one in attempt.judgements]
        self._read_with = {
            digest: one.atlas_digest for one in judged for digest in (one.policy_digest, one.facts_digest)
        }
        self._named = dict.fromkeys((self.atlas.digest, *(one.atlas_digest for one in judged)))
        self._policies: dict[str, Effective] = {}
        self._facts: dict[str, PoolFacts] = {}

    def is_given(self, digest: str) -> bool:
        """Tell whether the atlas of a digest is at hand."""
        return digest in self._given

    def atlas_of(self, digest: str) -> Atlas:
        """Return the atlas of a digest; where it was not given, which `atlas_faults` tells, the certificate's own."""
        return self._given.get(digest, self.atlas)

    def atlases_of(self, entry: Document) -> list[Atlas]:
        """Return the atlases that an act may have been judged under: the one that its entry names, if it shows any."""
        body = entry.get("body")
        judged = body.get("judged") if isinstance(body, Mapping) else None
        acts = judged if isinstance(judged, list) else []
        named = [str(one.get("atlas")) for one in acts if isinstance(one, Mapping)]
        return [self.atlas_of(digest) for digest in dict.fromkeys(named or self._named)]

    def policy(self, digest: str) -> Effective:
        """Return an effective policy of the certificate.

        Raises:
            ProofError: it is not there, or is another one than its digest says.
            PolicyError: it is no policy.
        """
        if digest not in self._policies:
            if digest not in self.certificate.policies:
                raise ProofError(f"the policy {digest[:12]}… is named but not in the certificate")
            found = parse_effective(self.certificate.policies[digest], self._atlas_for(digest))
            if found.digest != digest:
                raise ProofError(f"the policy filed under {digest[:12]}… is really {found.digest[:12]}…")
            self._policies[digest] = found
        return self._policies[digest]

    def under(self, *attempts: AttemptRecord) -> list[Effective]:
        """Return the job's policy, then the ones under derogations that these attempts were judged by."""
        judged = (judgement.policy_digest for attempt in attempts for judgement in attempt.judgements)
        return [self.policy(digest) for digest in dict.fromkeys((self.certificate.job.policy_digest, *judged))]

    def facts(self, digest: str) -> PoolFacts:
        """Return facts of the certificate.

        Raises:
            ProofError: they are not there, or are others than their digest says.
            PolicyError: they are no facts.
        """
        if digest not in self._facts:
            if digest not in self.certificate.facts:
                raise ProofError(f"the facts {digest[:12]}… are named but not in the certificate")
            found = parse_pool_facts(self.certificate.facts[digest], self._atlas_for(digest))
            if found.digest != digest:
                raise ProofError(f"the facts filed under {digest[:12]}… are really {found.digest[:12]}…")
            self._facts[digest] = found
        return self._facts[digest]

    def verdict(self, judgement: JudgementRecord) -> Verdict:
        """Judge again what was judged then, as of then."""
        policy, facts = self.policy(judgement.policy_digest), self.facts(judgement.facts_digest)
        return judge(policy, facts, self.atlas_of(judgement.atlas_digest), judgement.at)

    def _atlas_for(self, digest: str) -> Atlas:
        return self.atlas_of(self._read_with.get(digest, ""))


def atlas_faults(law: Law) -> Faults:
    """The atlases at hand must be those under which everything was judged."""
    versions = law.certificate.versions
    if (versions.atlas, versions.atlas_digest) != (law.atlas.version, law.atlas.digest):
        yield (
            f"it was judged under the atlas {versions.atlas} ({versions.atlas_digest[:12]}…); the one given is "
            f"{law.atlas.version} ({law.atlas.digest[:12]}…)"
        )
    for attempt in law.certificate.attempts:
        for judgement in attempt.judgements:
            if not law.is_given(judgement.atlas_digest):
                other = f"another atlas ({judgement.atlas_digest[:12]}…), which was not given"
                yield f"{_name(attempt)} was judged at {judgement.stage} under {other}"


def policy_faults(law: Law) -> Faults:
    """Each policy must be the one that its digest names, and follow from its layers."""
    for digest in law.certificate.policies:
        if not repeats(law.policy(digest)):
            yield f"the policy {digest[:12]}… does not follow from the layers that it names"
    job = law.policy(law.certificate.job.policy_digest)
    speaking = {policy_digest(layer.policy) for layer in job.layers if layer.kind in OWNERS}
    for content in law.certificate.inputs:
        if content.policy_digest not in speaking:
            yield f"the policy of input {content.name} did not go into the job's effective policy"


def facts_faults(law: Law) -> Faults:
    """The facts must be about the place that the attempt names, and say what the certificate prints of it."""
    for digest in law.certificate.facts:
        law.facts(digest)
    for attempt in law.certificate.attempts:
        for judgement in attempt.judgements:
            facts = law.facts(judgement.facts_digest)
            if (facts.region, facts.pool) != (attempt.region, attempt.pool):
                yield f"{_name(attempt)} ran in {attempt.pool}, but the facts judged are those of {facts.pool}"
        if not attempt.judgements:
            yield f"{_name(attempt)} was never judged"
        elif place_of(law.facts(attempt.judgements[-1].facts_digest)) != attempt.place:
            yield f"what is printed about the place of {_name(attempt)} is not what its facts say"


def judgement_faults(law: Law) -> Faults:
    """Judged again, each start must come out allowed, for no longer than it was; so must the control plane."""
    job = law.certificate.job
    described = parse_control_plane(law.certificate.control_plane, law.atlas)
    accepted = next((one.entry for one in law.certificate.audit.entries if one.entry.get("act") == ACCEPTED), {})
    held = [
        judge_control_plane(of, described, atlas, job.submitted_at)
        for of in law.under(*law.certificate.attempts)
        for atlas in law.atlases_of(accepted)
    ]
    for refusal in _unless_any_allows(held):
        yield f"the control plane might not hold this job's description: {refusal.message}"
    for attempt in law.certificate.attempts:
        yield from _stage_faults(attempt)
        for judgement in attempt.judgements:
            verdict = law.verdict(judgement)
            for refusal in verdict.refusals:
                yield f"{_name(attempt)} was not lawful at {judgement.stage}: {refusal.message}"
            if verdict.good_until and not (judgement.good_until and judgement.good_until <= verdict.good_until):
                yield f"{_name(attempt)} was good until {verdict.good_until} at {judgement.stage}, not for longer"


def session_faults(law: Law) -> Faults:
    """Whoever was let into an attempt must have sat where the policy lets people in, while it ran."""
    certificate = law.certificate
    attempts = {attempt.attempt_id: attempt for attempt in certificate.attempts}
    for one in sessions_of(certificate):
        attempt = attempts.get(one.attempt_id)
        if attempt is None:
            continue  # act_faults says so
        let_in = [
            judge_reader(of, one.territory, atlas, one.at)
            for of in law.under(attempt)
            for atlas in law.atlases_of(one.entry)
        ]
        for refusal in _unless_any_allows(let_in):
            yield f"{one.by} might not be let into {_name(attempt)} at {one.at}: {refusal.message}"
        if attempt.started_at is None or not attempt.started_at - _SKEW <= one.at <= attempt.ended_at + _SKEW:
            yield f"{one.by} was let into {_name(attempt)} at {one.at}, when it did not run"


def bound_faults(law: Law) -> Faults:
    """Each attempt must state its time bound, one that its class allows, and have ended within it."""
    for attempt in law.certificate.attempts:
        if not attempt.judgements:
            continue  # facts_faults says so
        last = attempt.judgements[-1]
        class_ = law.policy(last.policy_digest).class_
        if not 0 < attempt.bound_s <= LONGEST_BOUND_S[class_]:
            yield (
                f"{_name(attempt)} states a bound of {attempt.bound_s:g} s; {class_.word} data allow up to "
                f"{LONGEST_BOUND_S[class_]:g} s"
            )
        elif last.good_until and attempt.ended_at > last.good_until + timedelta(seconds=attempt.bound_s):
            yield f"{_name(attempt)} was good until {last.good_until} and ended at {attempt.ended_at}"


def output_faults(law: Law) -> Faults:
    """What one attempt made must be at least as tight as the job and its inputs."""
    certificate = law.certificate
    born = output_policy(law.policy(certificate.job.policy_digest))
    makers = {output.attempt_id for output in certificate.outputs}
    if len(makers) > 1:
        yield f"outputs of {len(makers)} attempts were published; there may be one"
    ran = {attempt.attempt_id for attempt in certificate.attempts if attempt.redeemed_at is not None}
    for output in certificate.outputs:
        policy = parse_policy(output.policy, law.atlas)
        if meet(policy, born) != policy:
            yield f"the policy of output {output.name} is wider than that of the job and its inputs"
        if output.attempt_id not in ran:
            yield f"output {output.name} is said to be of an attempt that did not run"


def gaps_of(law: Law) -> tuple[str, ...]:
    """Return what was allowed without being enforced, in a fixed order, each once."""
    attempts = law.certificate.attempts
    found = [gap for attempt in attempts for one in attempt.judgements for gap in law.verdict(one).gaps]
    found += [
        f"gpus: those of attempt {attempt.number} were made up, so it shows placement and not computing on GPUs"
        for attempt in attempts
        if attempt.has_made_up_gpus
    ]
    return tuple(dict.fromkeys(found))


def assumptions_of(law: Law) -> tuple[str, ...]:
    """Return what a reader has to believe beyond this paper, in a fixed order."""
    levels = sorted({attempt.place.evidence for attempt in law.certificate.attempts})
    places = [
        f"that the facts about places, operators and owners are true as registered (evidence {', '.join(levels)})"
    ]
    entered = [f"{one.by} in {one.territory or 'a place not on record'}" for one in sessions_of(law.certificate)]
    return (
        *(places if levels else ()),
        *([_ENTERED.format(who=", ".join(dict.fromkeys(entered)))] if entered else []),
        "that the control plane recorded every act; the log proves what is in it, not that nothing is missing",
        "that the clocks of control plane and regions were right within 5 seconds",
    )


def gap_faults(law: Law) -> Faults:
    """The certificate must own up to every gap and assumption that follows from what it says."""
    for gap in gaps_of(law):
        if gap not in law.certificate.gaps:
            yield f"it leaves out the gap {gap!r}"
    for assumption in assumptions_of(law):
        if assumption not in law.certificate.assumptions:
            yield f"it leaves out the assumption {assumption!r}"


def _unless_any_allows(verdicts: Sequence[Verdict]) -> tuple[FacetRefusal, ...]:
    """Return why the first does not allow, unless one of the others, which only add derogations, does."""
    return () if any(verdict.allowed for verdict in verdicts) else verdicts[0].refusals


def _stage_faults(attempt: AttemptRecord) -> Faults:
    stages = [judgement.stage for judgement in attempt.judgements]
    expected = ["apply"] if attempt.redeemed_at is None else ["apply", "redeem"]
    if stages[: len(expected)] != expected or any(stage != "renew" for stage in stages[len(expected) :]):
        yield f"{_name(attempt)} was judged at {', '.join(stages) or 'no stage'}, not first at {', '.join(expected)}"
    if sorted(attempt.judgements, key=lambda one: one.at) != list(attempt.judgements):
        yield f"the judgements of {_name(attempt)} are not in order of time"


def _name(attempt: AttemptRecord) -> str:
    return f"attempt {attempt.number}"
