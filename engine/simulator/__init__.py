"""The bar simulator: bars and decisions in; orders, fills, trades and an equity curve out, explained."""
