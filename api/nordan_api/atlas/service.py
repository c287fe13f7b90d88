"""Show the atlas in force, say what another would change, and put it in force: one step of the residency epoch.

What a new atlas does is worked out with nothing locked. Putting it in force is a short transaction that compares the
epoch with the one that was looked at; the scheduler and the regions then judge again whatever is there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nordan_api.atlas.effects import Effects, read_in_use
from nordan_api.atlas.lacking import lacking
from nordan_api.context import Context
from nordan_core.atlas.loader import default_atlas, default_atlas_bytes
from nordan_core.domain.errors import Conflict, Invalid, NotFound
from nordan_core.domain.tenants import Principal
from nordan_core.proof.atlas_signature import check_atlas, packaged_signature, release_keys
from nordan_core.proof.detached import key_id_in
from nordan_core.proof.errors import ProofError
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.atlas_changes import changes_between, version_order
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import Atlas
from nordan_core.store.atlases import AppliedAtlas, AtlasToApply
from nordan_core.store.unit_of_work import QUEUE, UnitOfWork

Json = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Offered:
    """An atlas that somebody wants in force: it is one, and a trusted key signed it."""

    atlas: Atlas
    stored: AtlasToApply

    @property
    def document(self) -> Json:
        """Return what names it."""
        return {"version": self.atlas.version, "digest": self.atlas.digest, "signed_by": _whose(self.stored.signature)}


@dataclass(frozen=True, slots=True)
class Looked:
    """What would change, and the residency epoch at which that was found."""

    epoch: int
    document: Json


def read_offer(context: Context, data: object, signature: object) -> Offered:
    """Return an atlas from a request.

    Raises:
        Invalid: it is no atlas, or none of the trusted keys signed exactly these bytes.
    """
    read = _bytes(data)
    if not isinstance(signature, Mapping):
        raise Invalid("signature", "give the signature that lies beside the file")
    try:
        check_atlas(read, signature, context.atlas_keys)
    except ProofError as error:
        advice = "NORDAN_ATLAS_KEYS names the keys that this control plane trusts"
        raise Invalid("signature", f"{error}; {advice}") from None
    try:
        atlas = parse_atlas(read)
        version_order(atlas.version)
    except PolicyError as error:
        raise error.under("data") from None
    return Offered(atlas, AtlasToApply(atlas.version, atlas.digest, read, dict(signature)))


def show(context: Context) -> Json:
    """Return which atlas is in force, and those that were before it."""
    with context.store.look() as work:
        history = work.atlases.history()
    items = [_applied(one) for one in history]
    packaged = {"version": default_atlas().version, "digest": default_atlas().digest}
    in_force = items[0] if items else {**packaged, "signed_by": _whose(packaged_signature()), "applied_at": None}
    return {"in_force": in_force, "packaged": packaged, "items": items}


def fetch(context: Context, digest: str) -> Json:
    """Return an atlas that was ever in force, with its signature: whoever verifies needs the very bytes.

    Raises:
        NotFound: none has that digest.
    """
    with context.store.look() as work:
        data = work.atlases.data([digest]).get(digest)
        signed = {one.digest: one.signature for one in work.atlases.history()}
    if data is None and digest == default_atlas().digest:
        data, signed = default_atlas_bytes(), {digest: packaged_signature()}
    if data is None:
        raise NotFound("atlas", digest)
    return {"digest": digest, "data": base64.b64encode(data).decode("ascii"), "signature": dict(signed[digest])}


def look(context: Context, offered: Offered) -> Looked:
    """Return what an atlas would change, and what stands against it; changes nothing."""
    with context.store.begin() as work:
        epoch = work.epoch.current()
        used, world = read_in_use(work), work.places.world()
    now, book = context.clock.now(), context.facts(epoch)
    before = book.atlas
    document: Json = {
        "in_force": {"version": before.version, "digest": before.digest},
        "offered": offered.document,
        "at": now.isoformat(),
        "is_newer": version_order(offered.atlas.version) > version_order(before.version),
        "lacking": lacking(used, world, offered.atlas),
        "changes": [
            {"kind": one.kind, "name": one.name, "before": one.before, "after": one.after}
            for one in changes_between(before, offered.atlas)
        ],
        **Effects(used, book, offered.atlas, now).document(),
    }
    return Looked(epoch, document)


def apply(context: Context, principal: Principal, offered: Offered, digest: object) -> Json:
    """Put an atlas in force and return what that changed.

    Raises:
        Invalid: the digest that was confirmed is another's. Conflict: it is not newer than the one in force, lacks
            names that are in use, or law moved while it was looked at. Nothing is changed then.
    """
    if digest != offered.atlas.digest:
        raise Invalid("digest", f"is not that of the atlas, which is {offered.atlas.digest}")
    looked = look(context, offered)
    if looked.document["in_force"]["digest"] == digest:
        return looked.document  # it is in force already: the answer of an earlier try was lost
    _check_lacking(offered, looked.document["lacking"])
    with context.store.begin() as work:
        before = work.epoch.hold()
        _check_newer(context, work, offered)
        if before != looked.epoch:
            raise Conflict("law_moved", "law or facts changed while this was looked at; nothing was changed, try again")
        work.epoch.step()
        work.atlases.add(offered.stored, by=principal.key, at=context.clock.now())
        work.notify(QUEUE)
    with context.store.look() as work:
        context.facts_cache.atlases.within(work)
    return looked.document


def _check_newer(context: Context, work: UnitOfWork, offered: Offered) -> None:
    in_force = context.facts_cache.atlases.within(work)
    if version_order(offered.atlas.version) <= version_order(in_force.version):
        raise Conflict(
            "atlas_not_newer",
            f"{offered.atlas.version} is not newer than {in_force.version}, which is in force; to go back, give the "
            "older content a newer version",
        )


def _check_lacking(offered: Offered, found: list[dict[str, str]]) -> None:
    if found:
        first = found[0]
        raise Conflict(
            "atlas_lacks_names",
            f"{offered.atlas.version} lacks what is in use in {len(found)} places; the first is {first['where']}: "
            f"{first['message']}",
        )


def _applied(one: AppliedAtlas) -> Json:
    return {
        "version": one.version,
        "digest": one.digest,
        "signed_by": _whose(one.signature),
        "applied_at": one.applied_at.isoformat(),
    }


def _whose(signature: Mapping[str, object]) -> Json:
    key = key_id_in(signature)
    return {"key": key, "release": key in release_keys()}


def _bytes(data: object) -> bytes:
    try:
        return base64.b64decode(data if isinstance(data, str) else "*", validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("data", "give the atlas file's bytes in base64") from None
