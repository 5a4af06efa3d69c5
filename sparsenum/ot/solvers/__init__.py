"""Methods: Sinkhorn, Newton, Sinkhorn-Newton-Sparse."""
