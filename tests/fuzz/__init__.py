"""Random calls of every door, judged by independent oracles, shrunk where they fail."""
