"""Runs attempts as pods of the region's cluster; `executor` is the entrance, and no control plane's code is here."""
