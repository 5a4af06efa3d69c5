"""Methods that lower reg in stages."""
