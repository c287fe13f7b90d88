"""Frozen types, state tables and errors: what every part of Nordan agrees on.

Standard library only. No I/O, no clock, no randomness, no logging.
"""
