"""Derogations: leave to fall short of one facet of a policy, under dual control."""
