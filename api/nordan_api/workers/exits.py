"""The exit code of an attempt: that of the rank that failed first. Called by `sync` when a region reports an end.

When one rank of a gang fails, the others are told to stop and most end by that signal; their codes say nothing.
"""

from __future__ import annotations

from nordan_core.wire import AttemptReport, ExitReport


def exit_code_of(report: AttemptReport, *, has_succeeded: bool) -> int | None:
    """Return the code of the rank that the report says failed first, else of the first that failed, else 0.

    None when there is no code: no success, or a rank that vanished and left none, and those that were stopped for it do
    not stand in.
    """
    failed = {rank.rank: code for rank in report.ranks if (code := _as_shells_count(rank))}
    if not failed:
        return 0 if has_succeeded else None
    return next(iter(failed.values())) if report.first_failed is None else failed.get(report.first_failed)


def _as_shells_count(rank: ExitReport) -> int:
    """Return a rank's exit code: 128 and the signal's number when a signal ended it."""
    return 128 + rank.signal if rank.signal else rank.exit_code or 0
