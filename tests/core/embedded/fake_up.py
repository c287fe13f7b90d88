"""`nordan up` as a process of its own, with stand-ins for other packages: `python fake_up.py PARTS --data-dir D`."""

from __future__ import annotations

import sys

from nordan_core.embedded.control import Stack
from nordan_core.embedded.up_command import main

PARTS = sys.argv.pop(1)


def command(stack: Stack, module: str, *arguments: str) -> tuple[str, ...]:
    return (str(stack.runtime.python), PARTS, module, *arguments)


Stack.command = command  # type: ignore[assignment, method-assign]  # the point of this file
sys.exit(main())
