"""Models of two tables: vectors of users and of items."""
