"""What can go wrong with content, one class per thing that a caller handles differently.

NordanError
└── StoreError
    ├── StoreFull          no space left; nothing half-done stays behind
    ├── DigestMismatch     bytes are not those that were promised, or a stored blob has decayed
    ├── ContentMissing     no blob or manifest under this digest in this region
    ├── ContentTooLarge    a stream over its limit
    └── UnsafeFolder       a folder holds what cannot become a manifest
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from nordan_core.domain.errors import NordanError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoreError(NordanError):
    """Content cannot be stored, found or laid."""


class StoreFull(StoreError):
    """The region's disk or quota is full."""

    def __init__(self) -> None:
        super().__init__("the region's store is full; free space or choose another region")


class DigestMismatch(StoreError):
    """Bytes do not have the digest under which they were sent or stored."""

    def __init__(self, want: str, have: str) -> None:
        super().__init__(f"the bytes have the digest {have}, not {want}")
        self.want = want
        self.have = have


class ContentMissing(StoreError):
    """This region holds nothing under this digest."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"this region does not hold {digest}")
        self.digest = digest


class ContentTooLarge(StoreError):
    """A stream went over its limit; what had arrived was dropped."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class UnsafeFolder(StoreError):
    """A folder holds something else than plain files of its owner; the text never names a file of the tenant."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the operating system's word for a full disk into `StoreFull`; other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull from error
        raise
