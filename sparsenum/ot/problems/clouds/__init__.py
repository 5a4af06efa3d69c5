"""Two clouds of points whose cost matrix is never stored."""
