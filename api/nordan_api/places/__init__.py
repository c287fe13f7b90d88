"""The world: facts applied by operators, regions that join, the market that tenants look at."""
