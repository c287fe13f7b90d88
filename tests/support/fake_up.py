"""`nordan up` as a process of its own: `python fake_up.py STAND_INS --data-dir D`.

The JSON file STAND_INS names the script that stands for other packages' processes, and a runtime laid out before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nordan_core.embedded import up
from nordan_core.embedded.control import Stack
from nordan_core.embedded.runtime import Runtime
from nordan_core.embedded.up_command import main

STAND_INS = json.loads(Path(sys.argv.pop(1)).read_text())


def command(stack: Stack, module: str, *arguments: str) -> tuple[str, ...]:
    return (str(stack.runtime.python), STAND_INS["parts"], module, *arguments)


def runtime(*_: object) -> Runtime:
    return Runtime(Path(STAND_INS["python"]), Path(STAND_INS["bin"]), STAND_INS["environment"])


Stack.command = command  # type: ignore[assignment, method-assign]  # the point of this file
vars(up)["prepare_runtime"] = runtime
sys.exit(main())
