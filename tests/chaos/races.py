"""Law that changes while it is acted on, many times: what the tests do some tens of times.

    python tests/chaos/races.py [--count 1000] [--seed 1]

Each race of both kinds is run so often. Prints how they went; the exit code is 1 when an act committed after a change
of law under the older one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.races import races


def main() -> int:
    """Run the races and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, races(Path(folder), arguments.seed) as found:
        started = time.monotonic()
        for number in range(arguments.count):
            found.between_plan_and_apply()
            found.between_apply_and_redeem()
            if number % 100 == 99:
                late = len(found.violations())
                print(f"{number + 1} of each after {time.monotonic() - started:.0f} s, {late} too late", flush=True)
        for what, count in sorted(found.tally.items()):
            print(f"{what}: {count}")
        violations = found.violations()
        print(f"{found.acts()} grants and redemptions, {len(violations)} under a law that was gone")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
