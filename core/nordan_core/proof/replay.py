"""The whole audit log, replayed offline: each leaf, each signed head, each judged act judged again by the same judge.

`nordan admin audit verify` calls it with an export, public keys and atlases; nothing else is needed or asked. It goes
through the file twice: first it builds the tree and notes where documents stand, then it judges. What is kept meanwhile
is a hash for each level of the tree, an offset for each document, a number for each job and a few marks for each
attempt that has not ended, so memory hardly grows with the log. Never raises on bad input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO

from nordan_core.domain.errors import NordanError
from nordan_core.proof.acts import ASKED, expected, is_judged, judgements_in
from nordan_core.proof.archive import Archive
from nordan_core.proof.atlas_signature import release_keys
from nordan_core.proof.checkpoint import Checkpoint, verify_checkpoint
from nordan_core.proof.errors import ProofError
from nordan_core.proof.export import BrokenLine, EntryLine, HeadLine, lines_of
from nordan_core.proof.in_force import InForce
from nordan_core.proof.judgement import Judgement, Question, judge_again, read_judgement
from nordan_core.proof.keychain import Keychain
from nordan_core.proof.keys import KeyRing, PublicKey
from nordan_core.proof.leaf import commitment
from nordan_core.proof.lives import Lives
from nordan_core.proof.merkle import Growing
from nordan_core.proof.permissions import Permissions
from nordan_core.proof.tokens import SKEW_S
from nordan_core.residency.places import Atlas
from nordan_core.residency.widening import derogated

#: Faults that are told in full; the others are counted.
TOLD = 100
#: What a document in the log may stumble over. All become faults.
_STUMBLES = (NordanError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
#: An act is written in the transaction that judged it, or a moment later.
_LATE = timedelta(seconds=120)
_SKEW = timedelta(seconds=SKEW_S)


@dataclass(slots=True)
class Replay:
    """What came of it."""

    entries: int = 0
    heads: int = 0
    judged: int = 0
    """Judgements made again, with the same answer."""
    withheld: int = 0
    """Judgements about what may not be described here: their policies are not in the log."""
    newest: Checkpoint | None = None
    faults: list[str] = field(default_factory=list)
    """The first hundred."""
    fault_count: int = 0

    @property
    def ok(self) -> bool:
        """Return whether nothing speaks against the log, and there is one."""
        return self.fault_count == 0 and self.newest is not None

    def fault(self, sentence: str) -> None:
        """Note what speaks against the log."""
        self.fault_count += 1
        if len(self.faults) < TOLD:
            self.faults.append(sentence)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a log is held to."""

    keys: KeyRing
    """Trusted certificate keys by id; those that they introduce in the log are trusted from there on."""
    atlases: Mapping[str, Atlas]
    """By digest; those that came into force while the log was kept are in it."""
    grant_keys: KeyRing | None = None
    """Trusted grant keys; None: what the log says of later ones is only checked for its form."""
    atlas_keys: Mapping[str, PublicKey] = field(default_factory=release_keys)
    """Whose atlases are law to the reader, by id."""
    kept: tuple[Checkpoint, ...] = ()
    """Heads that the reader kept: the log must have grown out of each."""
    not_before: datetime | None = None
    """The newest head must not be older."""


def replay(file: BinaryIO, terms: Terms, progress: Callable[[int], object] = lambda _: None) -> Replay:
    """Check a whole export; `progress` is told how many bytes were read, of twice the file."""
    found = Replay()
    archive = Archive(file, terms.atlas_keys)
    # 1. The tree and its heads.
    tree = _Tree(found, terms, archive)
    tree.read(file, progress)
    # 2. What the acts say, judged again.
    lives, acts = Lives(), _Acts(found, terms, archive, tree)
    read = 0
    for line in lines_of(file):
        if isinstance(line, EntryLine):
            for fault in _act_faults(line, archive, acts, lives):
                found.fault(f"entry {line.index} ({line.act}): {fault}")
            file.seek(line.offset)  # documents were read from elsewhere in the file
            file.readline()
            if read % 1000 == 0:
                progress(archive.size + line.offset)
            read += 1
    for fault in lives.leftovers():
        found.fault(fault)
    progress(2 * archive.size)
    return found


class _Tree:
    """First pass: leaves, heads, and where the documents are."""

    def __init__(self, found: Replay, terms: Terms, archive: Archive) -> None:
        self._found = found
        self._terms = terms
        self._archive = archive
        self._growing = Growing()
        self._keychain = Keychain(terms.keys, terms.grant_keys)
        self._kept = {head.size: head for head in terms.kept}
        self.permissions = Permissions()
        self.accepted: set[int] = set()
        """Hashes of each accepted job with the policy that it was accepted under."""

    def read(self, file: BinaryIO, progress: Callable[[int], object]) -> None:
        for line in lines_of(file):
            for fault in self._faults(line):
                self._found.fault(fault)
            if self._found.entries % 1000 == 0:
                progress(line.offset)
        for fault in self._end_faults():
            self._found.fault(fault)

    def _faults(self, line: EntryLine | HeadLine | BrokenLine) -> Iterator[str]:
        if isinstance(line, BrokenLine):
            yield f"at byte {line.offset}: {line.why}"
        elif isinstance(line, HeadLine):
            self._found.heads += 1
            yield from self._head_faults(line)
        else:
            yield from self._entry_faults(line)

    def _entry_faults(self, line: EntryLine) -> Iterator[str]:
        if line.index != self._growing.size:
            yield f"entry {line.index} stands where entry {self._growing.size} should: entries are missing or added"
        self._found.entries += 1
        self._archive.note(line)
        self.permissions.note(line)
        if line.act == "job_accepted":
            self.accepted.add(hash((line.subject, line.body.get("policy_digest"))))
        for fault in self._keychain.faults(line):
            yield f"entry {line.index} ({line.act}): {fault}"
        try:
            leaf = commitment(line.salt, line.entry, line.form)
        except ProofError as error:
            yield f"entry {line.index} is no leaf: {error}"
            leaf = b""
        self._growing.add(leaf)

    def _head_faults(self, line: HeadLine) -> Iterator[str]:
        try:
            head = verify_checkpoint(line.envelope, self._keychain.certificate_keys)
        except ProofError as error:
            yield f"a head behind entry {self._growing.size - 1} does not hold: {error}"
            return
        before = self._found.newest
        if head.size != self._growing.size:
            yield f"a head says {head.size} entries where there are {self._growing.size}"
        elif head.root != self._growing.root():
            yield f"the first {head.size} entries are not those that were signed on {head.at}: one was changed"
        if before is not None and head.origin != before.origin:
            yield f"the head of {head.size} entries is of another log: {head.origin}, not {before.origin}"
        if before is not None and head.at < before.at - _SKEW:
            yield f"the head of {head.size} entries was signed at {head.at}, before the one before it at {before.at}"
        kept = self._kept.pop(head.size, None)
        if kept is not None and (kept.root, kept.origin) != (head.root, head.origin):
            yield f"the head of {head.size} entries is not the one that was kept: the log was rewritten"
        if before is None or head.size >= before.size:
            self._found.newest = head

    def _end_faults(self) -> Iterator[str]:
        newest = self._found.newest
        if newest is None:
            yield "no head that a trusted key signed is in the export"
            return
        if newest.size < self._growing.size:
            count = self._growing.size - newest.size
            yield f"the last {count} entries are under no head: the export is cut off, or they were added"
        for size in sorted(self._kept):
            what = "was cut off" if size > newest.size else "has no such head: it is another log"
            yield f"a head of {size} entries was kept; the export of {newest.size} {what}"
        if self._terms.not_before is not None and newest.at < self._terms.not_before:
            yield f"the newest head is of {newest.at}; the log is older than {self._terms.not_before}, or was cut off"


def _act_faults(line: EntryLine, archive: Archive, acts: _Acts, lives: Lives) -> Iterable[str]:
    try:
        faults = [*archive.document_faults(line), *lives.faults(line)]
        faults += acts.faults(line)
    except _STUMBLES as error:
        return [str(error) or type(error).__name__]
    return faults


@dataclass(frozen=True, slots=True)
class _Acts:
    """Second pass: what each act was judged by."""

    found: Replay
    terms: Terms
    archive: Archive
    tree: _Tree

    def faults(self, line: EntryLine) -> Iterator[str]:
        judgements = judgements_in(line.body)
        if judgements is None:
            if is_judged(line.act, line.body):
                yield "the act is judged, but its entry says nothing of that"
            yield from self.tree.permissions.end_faults(line)
            return
        read = [read_judgement(one) for one in judgements]
        asked = frozenset(one.question for one in read)
        if is_judged(line.act, line.body) and asked not in ASKED[line.act]:
            yield f"it was judged by {', '.join(sorted(asked)) or 'nothing'}, which is not what is asked for this act"
        for judgement in read:
            yield from self._answer_faults(line, judgement)
        want, have = expected(line.act, line.body), all(one.allowed for one in read)
        if want is not None and want != have:
            said = "allowed" if have else "refused"
            yield f"the act was {'done' if want else 'refused'}, but the judge had {said} it"

    def _answer_faults(self, line: EntryLine, judgement: Judgement) -> Iterator[str]:
        logged = datetime.fromisoformat(str(line.entry["at"]))
        if not -_SKEW <= logged - judgement.at <= _LATE:
            yield f"it was judged as of {judgement.at}, and done at {logged}"
        if judgement.is_withheld:
            self.found.withheld += 1
            if judgement.allowed:
                yield "it was allowed although the control plane may not describe it"
            return
        if judgement.question is not Question.READ and not judgement.control_plane:
            yield "it does not say where the control plane stood"
        if not self.archive.holds_atlas(judgement.atlas) and judgement.atlas not in self.terms.atlases:
            yield f"it was judged under the atlas {judgement.atlas[:12]}…, which was not given; --atlas takes it"
            return
        yield from InForce(self.archive.applied, late=_LATE, skew=_SKEW).faults(judgement)
        try:
            atlas = self.terms.atlases.get(judgement.atlas) or self.archive.atlas(judgement.atlas)
            allowed, good_until = judge_again(judgement, self.archive, atlas)
            yield from self.archive.place_faults(line, judgement, atlas)
            yield from self._policy_faults(line, judgement, atlas)
        except _STUMBLES as error:
            yield f"it cannot be judged again: {error}"
            return
        if allowed != judgement.allowed:
            said, again = ("allowed" if one else "refused" for one in (judgement.allowed, allowed))
            yield f"by {judgement.question.value} it was {said}; judged again it is {again}"
        elif judgement.question is Question.RUN and allowed and _is_longer(judgement.good_until, good_until):
            yield f"it holds until {good_until}; the log relied on it until {judgement.good_until or 'any time'}"
        self.found.judged += 1

    def _policy_faults(self, line: EntryLine, judgement: Judgement, atlas: Atlas) -> Iterator[str]:
        """The policies judged must be the act's own, and rest on no leave that was not given."""
        policies = [self.archive.policy(digest, atlas) for digest in judgement.policies]
        plain = {digest for of in policies for digest in (of.digest, derogated(of, ()).digest)}
        named = line.body.get("policy_digest")
        if named is not None and named not in plain:
            yield f"it was judged by other policies than {str(named)[:12]}…, which it names"
        if line.act in {"grant_issued", "grant_redeemed", "grant_renewed"} and not any(
            hash((line.subject, digest)) in self.tree.accepted for digest in plain
        ):
            yield f"the job {line.subject} was not accepted under a policy that this was judged by"
        for derogation in {one.derogation.id: one.derogation for of in policies for one in of.derogations}.values():
            yield from self.tree.permissions.faults(line, derogation, judgement.at)


def _is_longer(relied: datetime | None, holds: datetime | None) -> bool:
    return holds is not None and (relied is None or relied > holds)
