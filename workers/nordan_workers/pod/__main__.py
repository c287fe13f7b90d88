"""What runs in a pod from Nordan's own image: `python -m nordan_workers.pod stage | agent GATEWAY_URL ATTEMPT RANK`."""

from __future__ import annotations

import sys

from nordan_workers.pod.agent import Agent
from nordan_workers.pod.client import Refused
from nordan_workers.pod.settings import SettingsMissing, read_settings
from nordan_workers.pod.stage import stage


def main(arguments: list[str]) -> int:
    """Do one of the two; 1 with a sentence on standard error when the set-up is at fault."""
    try:
        match arguments:
            case ["stage", *told]:
                stage(read_settings(told))
            case ["agent", *told]:
                Agent(read_settings(told)).run()
            case _:
                sys.stderr.write("usage: python -m nordan_workers.pod stage | agent GATEWAY_URL ATTEMPT RANK\n")
                return 2
    except SettingsMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Refused as error:
        sys.stderr.write(f"the region refuses this pod: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"the pod's volumes do not serve: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
