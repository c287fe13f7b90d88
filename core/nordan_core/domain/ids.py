"""Names of things, each its own type, so that a job's id cannot stand where an attempt's is meant.

Form: a prefix of three letters, an underscore, 26 characters of Crockford's base 32 that sort by time
(`nordan_core.identifiers.new_id` makes them). Regions and pools have names that people choose.
"""

from __future__ import annotations

import re
from typing import NewType

OrganisationId = NewType("OrganisationId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
JobId = NewType("JobId", str)
AttemptId = NewType("AttemptId", str)
GrantId = NewType("GrantId", str)
ArtifactId = NewType("ArtifactId", str)
UploadId = NewType("UploadId", str)
EntityName = NewType("EntityName", str)
RegionCode = NewType("RegionCode", str)
PoolName = NewType("PoolName", str)
NodeName = NewType("NodeName", str)

_ID = re.compile(r"[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_id(text: str, prefix: str) -> bool:
    """Tell whether the text has the exact form of an id with this prefix."""
    return _ID.fullmatch(text) is not None and text.startswith(prefix + "_")


def is_name(text: str) -> bool:
    """Tell whether the text is a legal name: a DNS label of at most 63 characters."""
    return _NAME.fullmatch(text) is not None
