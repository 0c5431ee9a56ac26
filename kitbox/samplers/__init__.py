"""Batches: which images a network is trained on together, and in what order."""
