"""Kill workers and store under load, then hold every figure to what was sent."""
