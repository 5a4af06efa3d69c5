"""From a solved problem to a checked result with derivatives."""
