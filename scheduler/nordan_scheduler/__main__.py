"""`python -m nordan_scheduler`: run one scheduler process."""

from nordan_scheduler.process import main

if __name__ == "__main__":
    raise SystemExit(main())
