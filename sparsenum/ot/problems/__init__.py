"""Transport problems: costs, masses, and the same on a subset of pairs."""
