"""Start a region's supervisor: `python -m nordan_workers.supervisor`."""

import sys

from nordan_workers.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main())
