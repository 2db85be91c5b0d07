"""Building blocks that several networks share; each stands here once."""
