"""`python -m nordan_workers.shim REGION_DIR`: the warm parent of one region."""

from __future__ import annotations

import sys
from pathlib import Path

from nordan_workers.shim.parent import main

if __name__ == "__main__":
    main(Path(sys.argv[1]))
