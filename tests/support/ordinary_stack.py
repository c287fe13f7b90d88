"""A stack that an ordinary user runs: as root, the user `nobody`, with a Python that everybody can read."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.chaos_stack import ChaosStack, Invoker
from support.stand_ins import laid_out


@contextmanager
def ordinary_stack() -> Iterator[ChaosStack]:
    """Start a stack of one home region and yield it; at the end nothing of it may be left running."""
    with ExitStack() as parts:
        home = Path(tempfile.mkdtemp(prefix="no-", dir="/tmp"))
        parts.callback(shutil.rmtree, home, ignore_errors=True)
        invoker = Invoker(world=None)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            runtime = parts.enter_context(laid_out()).runtime
            environment = {**runtime.environment, "PATH": runtime.path}
            invoker = Invoker(runtime.python, environment, nobody.pw_uid, world=None)
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        stack = ChaosStack(home, invoker)
        parts.callback(stack.stop)
        stack.start()
        yield stack
        left = stack.stop()
        assert left == [], f"left running: {left}"
