"""Datasets and artifacts: names, policies, leave to put and to read bytes."""
