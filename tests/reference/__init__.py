"""Slow, obviously right twins of the package's arithmetic, in float64 NumPy."""
