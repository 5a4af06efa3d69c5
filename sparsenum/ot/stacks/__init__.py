"""Many problems of one shape, solved together."""
