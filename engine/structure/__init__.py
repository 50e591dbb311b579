"""The structure of prices: swings, what becomes of their levels, zones, and levels of Fibonacci; causal columns all."""
