"""Jobs: submit, plan, look, cancel, and the way to logs and services."""
