"""Exports of a control plane's audit log, straight from its store, and their replay."""

from __future__ import annotations

import io

from nordan_core.atlas.loader import default_atlas
from nordan_core.proof.export import entry_line, head_line
from nordan_core.proof.keys import PublicKey, trusted
from nordan_core.proof.replay import Replay, Terms, replay
from nordan_core.store.unit_of_work import Store
from support.atlases import TRUSTED

ATLASES = {default_atlas().digest: default_atlas()}
_ALL = 100_000


def export_of(store: Store) -> bytes:
    """Return the export of everything that is sealed, as `nordan admin audit export` writes it."""
    with store.begin() as work:
        entries, heads = work.ledger.page(0, _ALL), work.ledger.heads(0, _ALL)
        forms = work.ledger.forms(entries)
    lines: list[bytes] = []
    written = 0
    for head in heads:
        lines += [
            entry_line(place, one.salt.hex(), forms[place], one.document())
            for place, one in enumerate(entries[written : head.size], start=written)
        ]
        lines.append(head_line(head.envelope))
        written = head.size
    return b"".join(lines)


def replayed(export: bytes, key: PublicKey, terms: Terms | None = None) -> Replay:
    """Replay an export by one trusted key."""
    return replay(io.BytesIO(export), terms or Terms(trusted(key), ATLASES, atlas_keys=TRUSTED))
