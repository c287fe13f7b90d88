"""This side's terminal while a session at the other side is in charge of it: raw, and its size as it changes."""

from __future__ import annotations

import os
import shutil
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Pass every key on as it is, Ctrl-C too, until the block ends; nothing happens where there is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        # Drained: what the session wrote last is still to be shown as it meant it.
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def resized(wake: int) -> Iterator[None]:
    """Write a byte to `wake`, which does not block, whenever the window changes its size."""

    def tell(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(wake, b"w")

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def size() -> tuple[int, int]:
    """Return columns and rows of the window; 80 and 24 where there is none."""
    found = shutil.get_terminal_size((80, 24))
    return found.columns, found.lines
