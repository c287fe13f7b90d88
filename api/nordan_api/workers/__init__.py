"""The worker API: what a region may ask and report, and nothing else."""
