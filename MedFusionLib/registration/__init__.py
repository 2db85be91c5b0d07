"""How two volumes lie to each other, and finding the place where they lie on each other."""
