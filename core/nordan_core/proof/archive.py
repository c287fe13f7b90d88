"""Documents of an exported log by digest: policies, facts, worlds. Offsets are kept; texts are read when asked for.

Used by `replay`. A document must be the one that its digest names; the parsed ones that were used last are kept.
"""

from __future__ import annotations

import base64
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import BinaryIO, TypeVar, cast

from nordan_core.proof.atlas_signature import check_atlas
from nordan_core.proof.canonical import digest_of
from nordan_core.proof.errors import ProofError, SignatureInvalid
from nordan_core.proof.export import EntryLine, entry_at
from nordan_core.proof.in_force import Application
from nordan_core.proof.judgement import ATLAS, FACTS, POLICY, WORLD, Judgement, Question
from nordan_core.proof.keys import PublicKey
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.effective_text import parse_judged
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_core.residency.facts_text import parse_control_plane, parse_pool_facts
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas

#: Parsed documents kept at once; a policy or a pool's facts are some kilobytes.
KEPT = 4096
#: Documents whose digest is that of their canonical form; an atlas's is that of its file.
_KINDS = (FACTS, POLICY, WORLD)
#: The act by which an atlas comes into force (`nordan_core.store.audit.Act`).
APPLIED = "atlas_applied"
T = TypeVar("T")


class Archive:
    """Reads documents out of an export; `judgement.Documents`."""

    def __init__(self, file: BinaryIO, atlas_keys: Mapping[str, PublicKey]) -> None:
        self._file = file
        self._atlas_keys = atlas_keys
        self.applied: list[Application] = []
        """When which atlas came into force, as far as the log was noted."""
        self.size = file.seek(0, os.SEEK_END)
        self._places: dict[str, int] = {}
        self._parsed: OrderedDict[tuple[str, str], object] = OrderedDict()

    def note(self, line: EntryLine) -> None:
        """Remember where a document stands; of several entries with one, the first."""
        if line.subject.startswith((*_KINDS, ATLAS)):
            self._places.setdefault(line.subject, line.offset)
        if line.act == APPLIED:
            at = datetime.fromisoformat(str(line.entry["at"]))
            self.applied.append(Application(at, line.subject.removeprefix(ATLAS)))

    def policy(self, digest: str, atlas: Atlas) -> Effective:
        """Return a policy as it was judged."""
        return self._get(POLICY + digest, atlas.digest, lambda body: _same(digest, parse_judged(body, atlas)))

    def facts(self, digest: str, atlas: Atlas) -> PoolFacts:
        """Return facts of a pool."""
        return self._get(FACTS + digest, atlas.digest, lambda body: _same(digest, parse_pool_facts(body, atlas)))

    def control_plane(self, digest: str, atlas: Atlas) -> ControlPlaneFacts:
        """Return facts of the control plane."""
        return self._get(FACTS + digest, atlas.digest, lambda body: parse_control_plane(_intact(digest, body), atlas))

    def world(self, digest: str) -> Sequence[str]:
        """Return the digests of all pools' facts at some epoch."""
        return self._get(WORLD + digest, "", lambda body: _digests(_intact(digest, body)))

    def holds_atlas(self, digest: str) -> bool:
        """Tell whether the log holds an atlas."""
        return ATLAS + digest in self._places

    def atlas(self, digest: str) -> Atlas:
        """Return an atlas that came into force.

        Raises:
            ProofError: the log holds none of that digest, or no trusted key signed what it holds.
            PolicyError: it is none.
        """
        return self._get(ATLAS + digest, "", lambda body: _signed_atlas(digest, body, self._atlas_keys))

    def document_faults(self, line: EntryLine) -> Iterator[str]:
        """Yield what is wrong with an entry that holds a document: it must be what its digest says."""
        kind = next((kind for kind in _KINDS if line.subject.startswith(kind)), None)
        if kind is not None and digest_of(dict(line.body)) != line.subject.removeprefix(kind):
            yield f"the document is another than its digest {line.subject} says"
        if line.act == APPLIED:
            self.atlas(line.subject.removeprefix(ATLAS))

    def place_faults(self, line: EntryLine, judgement: Judgement, atlas: Atlas) -> Iterator[str]:
        """Yield a fault where the facts that were judged are about another place than the act."""
        if judgement.question not in {Question.RUN, Question.REST}:
            return
        for digest in judgement.facts:
            facts = self.facts(digest, atlas)
            for field, have in (("region", facts.region), ("pool", facts.pool)):
                claimed = line.body.get(field, have)
                if claimed != have and (field == "region" or judgement.question is Question.RUN):
                    yield f"the act was in {field} {claimed}, but the facts judged are those of {have}"

    def _get(self, subject: str, atlas: str, parse: Callable[[Mapping[str, object]], T]) -> T:
        known = self._parsed.get((subject, atlas))
        if known is None:
            offset = self._places.get(subject)
            if offset is None:
                raise ProofError(f"the log does not hold {subject[:22]}…")
            known = parse(entry_at(self._file, offset).body)
            self._parsed[subject, atlas] = known
            if len(self._parsed) > KEPT:
                self._parsed.popitem(last=False)
        self._parsed.move_to_end((subject, atlas))
        return cast(T, known)  # cast: a subject names its kind, so what is kept under it is of that type


def _signed_atlas(digest: str, body: Mapping[str, object], keys: Mapping[str, PublicKey]) -> Atlas:
    signature = body.get("signature")
    data = base64.b64decode(str(body.get("data")), validate=True)
    try:
        check_atlas(data, signature if isinstance(signature, Mapping) else {}, keys)
    except SignatureInvalid as error:
        raise ProofError(f"the atlas {digest[:12]}… was {error}; --trust takes the key of whoever made it") from error
    atlas = parse_atlas(data)
    if atlas.digest != digest:
        raise ProofError(f"the atlas under {digest[:12]}… is really {atlas.digest[:12]}…")
    return atlas


Digested = TypeVar("Digested", Effective, PoolFacts)


def _same(digest: str, found: Digested) -> Digested:
    if found.digest != digest:
        raise ProofError(f"what the log holds under {digest[:12]}… is really {found.digest[:12]}…")
    return found


def _intact(digest: str, body: Mapping[str, object]) -> Mapping[str, object]:
    if digest_of(dict(body)) != digest:
        raise ProofError(f"what the log holds under {digest[:12]}… is another document")
    return body


def _digests(body: Mapping[str, object]) -> tuple[str, ...]:
    listed = body.get("facts")
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ProofError("a world is a list of digests of facts")
    return tuple(listed)
