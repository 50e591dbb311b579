"""The science: pure functions over frames and arrays; random numbers only from a `seed` argument."""
