"""Two sparse tables learn by gradient steps under a fixed budget of weights."""
