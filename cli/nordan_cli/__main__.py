"""`python -m nordan_cli` is `nordan`."""

from nordan_cli.main import main

main()
