"""What makes Nordan's words checkable by others: signatures, tokens, the audit tree, certificates.

Called by api (grants, access tokens), the sealer (tree, checkpoints, certificates), supervisors and gateways
(reading tokens) and the CLI (verifying offline). Nothing here opens a network connection, a database or a
clock: instants, nodes and keys are arguments.
"""
