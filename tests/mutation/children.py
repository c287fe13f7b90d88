"""Calls in forked children: each begins with all that this process has loaded, and takes what it changes with it."""

from __future__ import annotations

import os
import pickle
import resource
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

MEMORY = 6 << 30
"""Bytes that a child with a limit may use: a mutant may ask for all there is."""


@dataclass(frozen=True, slots=True)
class _Child(Generic[Asked]):
    asked: Asked
    file: IO[bytes]


def answers(
    asked: Iterable[Asked],
    call: Callable[[Asked], Answer],
    *,
    workers: int = 1,
    seconds: int | None = None,
    is_silent: bool = False,
) -> Iterator[tuple[Asked, Answer | None]]:
    """Yield what `call` returns for each question, in the order in which they end; None for a child that died.

    A child that uses more than `seconds` of processor time dies. A silent one prints nothing.
    """
    waiting, running = iter(asked), dict[int, _Child[Asked]]()
    while True:
        for one in islice(waiting, workers - len(running)):
            child = _Child(one, tempfile.TemporaryFile())  # noqa: SIM115  # read and closed when the child has ended
            running[_started(child, call, seconds, is_silent=is_silent)] = child
        if not running:
            return
        pid, status = os.wait()
        child = running.pop(pid)
        with child.file:
            child.file.seek(0)
            answer = pickle.load(child.file) if status == 0 else None
        yield child.asked, answer


def _started(child: _Child[Asked], call: Callable[[Asked], Answer], seconds: int | None, *, is_silent: bool) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if is_silent:
            _say_nothing()
        pickle.dump(call(child.asked), child.file)
        child.file.flush()
        status = 0
    finally:
        os._exit(status)


def _say_nothing() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
