"""Batches: which images a network learns from together, and in what order."""
