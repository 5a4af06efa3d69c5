"""Models of items alone, which serve any history of a user."""
