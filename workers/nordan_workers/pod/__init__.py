"""What runs inside a job's pod: the shim (C, PID 1 of the job's container), the stager before it, the agent beside it.

`stage` and `agent` run from Nordan's own image and import nothing but the standard library, because they start once
for every rank. They hold the attempt's token, which the job's container never sees, and speak to the region's gateway
alone: never to the API server, the broker or the control plane.
"""
