"""Arrays of torch, jax, cupy and tensorflow."""
