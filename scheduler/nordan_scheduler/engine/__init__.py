"""The engine: `plan(snapshot, now, seed) -> Plan`, and answers to "why". Pure: values in, values out.

It imports `nordan_core.domain` and nothing else of Nordan: no clock, no chance, no I/O, no logging.
"""
