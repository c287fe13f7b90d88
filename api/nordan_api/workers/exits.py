"""The exit code of an attempt: that of the rank that failed first. Called by `sync` when a region reports an end.

When one rank of a gang fails, the others are told to stop and most end by that signal; their codes say nothing.
"""

from __future__ import annotations

import re

from nordan_core.wire import AttemptReport, ExitReport

#: How a region's message names the rank that failed first. No field of the report does, and a region may speak the
#: version before this one: the message is what both have.
_NAMED_FIRST = re.compile(r"rank (\d{1,9}) ")


def exit_code_of(report: AttemptReport, *, has_succeeded: bool) -> int | None:
    """Return the code of the rank that the message names, else of the first that failed, else 0 after a success.

    None when there is no code: a rank that vanished left none, and those that were stopped for it do not stand in.
    """
    failed = {rank.rank: code for rank in report.ranks if (code := _as_shells_count(rank))}
    if not failed:
        return 0 if has_succeeded else None
    named = _NAMED_FIRST.match(report.message)
    return failed.get(int(named[1])) if named else next(iter(failed.values()))


def _as_shells_count(rank: ExitReport) -> int:
    """Return a rank's exit code: 128 and the signal's number when a signal ended it."""
    return 128 + rank.signal if rank.signal else rank.exit_code or 0
