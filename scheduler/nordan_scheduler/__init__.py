"""Nordan: scheduler."""
