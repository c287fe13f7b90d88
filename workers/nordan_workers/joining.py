"""What a region was told when it joined its control plane: read once by each of its processes.

The file holds the region's credential and its broker's password, so it must be readable by its owner alone; or, as a
Secret is mounted in a pod, by root and a group of this process, which may not write it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_IRGRP

from pydantic import ValidationError

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import RegionCode
from nordan_core.proof.errors import KeyUnusable
from nordan_core.proof.keys import PublicKey, trusted
from nordan_core.wire import JoinBundle


class _JoinFile(JoinBundle):
    broker_url: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """A region's place in its control plane."""

    region: RegionCode
    api_url: str
    credential: str = field(repr=False)
    broker_url: str = field(repr=False)
    keys: Mapping[str, PublicKey]
    """Public keys that grants, renewals and access tokens may be signed with, by key id."""
    territory: str = ""
    """Where the region is; empty in a bundle of an older control plane."""

    @property
    def audience(self) -> str:
        """Return what an access token must name to be good at this region's gateway."""
        return f"gateway:{self.region}"


def read_join_file(path: Path) -> Joined:
    """Read the join bundle.

    Raises:
        OperatorError: it cannot be read, others can read it, or it is not a join bundle.
    """
    try:
        found = path.stat()
        text = path.read_text()
    except OSError as error:
        raise OperatorError(f"cannot read the join file {path}: {error.strerror}") from error
    if not _is_private(found):
        raise OperatorError(f"others can read {path}, which holds a credential; run: chmod 600 {path}")
    try:
        bundle = _JoinFile.model_validate_json(text)
        keys = trusted(*(PublicKey.from_pem(pem) for pem in bundle.grant_keys.values()))
    except (ValidationError, KeyUnusable) as error:
        # The error's own text may quote the file, and with it the credential.
        raise OperatorError(f"{path} is not a join bundle; make a new one with: nordan admin regions join") from error
    return Joined(
        region=RegionCode(bundle.region),
        api_url=bundle.api_url.rstrip("/"),
        credential=bundle.credential,
        broker_url=bundle.broker_url,
        keys=keys,
        territory=bundle.territory,
    )


def _is_private(found: os.stat_result) -> bool:
    others = found.st_mode & 0o077
    is_mounted_secret = found.st_uid == 0 != os.geteuid() and found.st_gid in {os.getegid(), *os.getgroups()}
    return others == 0 or (others == S_IRGRP and is_mounted_secret)
