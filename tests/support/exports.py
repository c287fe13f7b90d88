"""Exports of a control plane's audit log, straight from its store, changed or as they are, and their replay."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from nordan_core.atlas.loader import default_atlas
from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from nordan_core.proof.export import entry_line, head_line
from nordan_core.proof.keys import PublicKey, SigningKey, trusted
from nordan_core.proof.leaf import commitment
from nordan_core.proof.merkle import Growing
from nordan_core.proof.replay import Replay, Terms, replay
from nordan_core.store.unit_of_work import Store
from support.atlases import TRUSTED
from support.lab import CERTIFICATE_KEY

Json = dict[str, Any]  # Any: JSON
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


def lines(export: bytes) -> list[Json]:
    """Return an export's lines as values."""
    return [json.loads(line) for line in export.splitlines()]


def written(parts: list[Json]) -> bytes:
    """Return the export that has these lines."""
    return b"".join(canonical_json(one) + b"\n" for one in parts)


def resigned(export: bytes, change: Callable[[Json], None], key: SigningKey = CERTIFICATE_KEY) -> bytes:
    """Return the log that a liar with the sealer's key would have made: entries changed, then sealed and signed."""
    tree, out = Growing(), []
    for part in lines(export):
        if "entry" in part:
            change(part["entry"])
            salt = bytes.fromhex(part["salt"])
            tree.add(commitment(salt, part["entry"], part["form"]))
            out.append(entry_line(part["index"], part["salt"], part["form"], part["entry"]))
        else:
            head = verify_checkpoint(part["checkpoint"], trusted(CERTIFICATE_KEY.public))
            out.append(head_line(sign_checkpoint(Checkpoint(head.origin, tree.size, tree.root(), head.at), key)))
    return b"".join(out)
