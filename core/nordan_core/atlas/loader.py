"""Reads the packaged atlas, once per process. Whoever judges calls it at its edge and passes the atlas on."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from nordan_core.residency.atlas import Atlas, parse_atlas

DEFAULT_ATLAS = "europe-2026-11.json"
_KEYS = ".pub"


def default_atlas_bytes() -> bytes:
    """Return the packaged atlas file as it is: what `Atlas.digest` is taken over."""
    return files("nordan_core.atlas").joinpath(DEFAULT_ATLAS).read_bytes()


def default_atlas_signature() -> bytes:
    """Return the file of its signature (`proof.atlas_signature` checks it)."""
    return files("nordan_core.atlas").joinpath(f"{DEFAULT_ATLAS}.sig").read_bytes()


def release_key_pems() -> tuple[str, ...]:
    """Return the public keys that releases signed their atlases with, each as PEM text."""
    found = sorted(files("nordan_core.atlas").iterdir(), key=lambda one: one.name)
    return tuple(one.read_text("ascii") for one in found if one.name.endswith(_KEYS))


@cache
def default_atlas() -> Atlas:
    """Return the packaged atlas, parsed and checked."""
    return parse_atlas(default_atlas_bytes())
