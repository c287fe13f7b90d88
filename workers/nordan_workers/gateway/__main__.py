"""Start a region's gateway: `python -m nordan_workers.gateway`."""

import sys

from nordan_workers.gateway.main import main

if __name__ == "__main__":
    sys.exit(main())
