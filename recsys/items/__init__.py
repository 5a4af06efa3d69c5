"""Models of items alone: what a user took is all there is to know of the user."""
