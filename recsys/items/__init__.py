"""What an item-only recommender is made of: items by items, and items by factors."""
