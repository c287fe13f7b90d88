"""Atlases of somebody's own: the packaged one, changed and signed with a key that the tests' control plane trusts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from nordan_core.atlas.loader import default_atlas_bytes
from nordan_core.proof.atlas_signature import release_keys, sign_atlas
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.places import Atlas

Json = dict[str, Any]
KEY = SigningKey.create()
TRUSTED = {**release_keys(), **trusted(KEY.public)}
Change = Callable[[Json], object]


def changed(change: Change, version: str = "tests-2027-01") -> bytes:
    """Return the packaged atlas's bytes after a change, under another version."""
    document: Json = json.loads(default_atlas_bytes())
    document["version"] = version
    change(document)
    return json.dumps(document).encode()


def parsed(data: bytes) -> Atlas:
    """Return an atlas from its bytes."""
    return parse_atlas(data)


def offer(data: bytes, key: SigningKey = KEY) -> Json:
    """Return the body that offers an atlas to a control plane."""
    return {"data": base64.b64encode(data).decode(), "signature": sign_atlas(data, key)}


def without(group: str, *territories: str) -> Change:
    """Return the change by which territories leave a group on the first day of November 2026."""

    def change(document: Json) -> None:
        for member in document["groups"][group]["members"]:
            if member["territory"] in territories:
                member["until"] = "2026-11-01"

    return change


def lacking(*territories: str) -> Change:
    """Return the change by which territories are no codes any more."""

    def change(document: Json) -> None:
        for code in territories:
            del document["territories"][code]
        for group in document["groups"].values():
            group["members"] = [one for one in group["members"] if one["territory"] not in territories]

    return change
