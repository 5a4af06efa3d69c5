"""A linear autoencoder of items whose rows are sparse throughout training."""
