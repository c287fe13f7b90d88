"""Reads the packaged atlas, once per process. Whoever judges calls it at its edge and passes the atlas on."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from nordan_core.residency.atlas import Atlas, parse_atlas

DEFAULT_ATLAS = "europe-2026-11.json"


def default_atlas_bytes() -> bytes:
    """Return the packaged atlas file as it is: what `Atlas.digest` is taken over."""
    return files("nordan_core.atlas").joinpath(DEFAULT_ATLAS).read_bytes()


@cache
def default_atlas() -> Atlas:
    """Return the packaged atlas, parsed and checked."""
    return parse_atlas(default_atlas_bytes())
