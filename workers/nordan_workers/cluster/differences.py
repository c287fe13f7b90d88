"""Whether what stands in a cluster is what was generated: pure, over JSON objects.

A field that somebody else added counts: an exclusion beside our rules opens them as well as a change of them. So what
stands is compared with what the server makes of the same object made anew, defaults included.
"""

from __future__ import annotations

from collections.abc import Iterator

from nordan_workers.cluster.cel import Object

#: What the server keeps about an object, not what the object says.
_BOOKKEEPING = frozenset({"apiVersion", "kind", "metadata", "status"})
_MISSING = object()


def differences(stands: Object, wanted: Object) -> tuple[str, ...]:
    """Return the paths of the fields that differ; labels are compared only where `wanted` has them."""
    if stands.get("kind") == "Namespace":
        return tuple(_labels(stands, wanted))
    body, wish = ({k: v for k, v in one.items() if k not in _BOOKKEEPING} for one in (stands, wanted))
    return (*_labels(stands, wanted), *_below("", body, wish))


def _labels(stands: Object, wanted: Object) -> Iterator[str]:
    has = stands["metadata"].get("labels") or {}
    for key, value in (wanted["metadata"].get("labels") or {}).items():
        if has.get(key) != value:
            yield f"metadata.labels[{key}]"


def _below(path: str, stands: object, wanted: object) -> Iterator[str]:
    if isinstance(stands, dict) and isinstance(wanted, dict):
        for key in sorted({*stands, *wanted}):
            yield from _below(f"{path}.{key}" if path else key, stands.get(key, _MISSING), wanted.get(key, _MISSING))
    elif isinstance(stands, list) and isinstance(wanted, list) and len(stands) == len(wanted):
        for place, (one, other) in enumerate(zip(stands, wanted, strict=True)):
            yield from _below(f"{path}[{place}]", one, other)
    elif stands != wanted:
        yield path
