"""The verbs, a module for each group; loaded by name from `nordan_cli.verbs`."""
