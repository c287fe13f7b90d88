"""A cell begins with the atlas that its version comes with; from then on only an administrator changes it.

Called by `migrate`, so that the law of a cell never changes by itself when its processes are replaced.
"""

from __future__ import annotations

from datetime import datetime

from nordan_core.atlas.loader import default_atlas, default_atlas_bytes
from nordan_core.proof.atlas_signature import packaged_signature
from nordan_core.store.atlases import AtlasToApply
from nordan_core.store.unit_of_work import Store

ACTOR = "deployment"


def begin(store: Store, now: datetime) -> bool:
    """Put the packaged atlas in force where none ever was; returns whether it did."""
    with store.begin() as work:
        work.epoch.hold()
        if work.atlases.in_force() is not None:
            return False
        atlas = default_atlas()
        work.epoch.step()
        work.atlases.add(
            AtlasToApply(atlas.version, atlas.digest, default_atlas_bytes(), packaged_signature()), by=ACTOR, at=now
        )
        return True
