"""Embeddings of images by trained networks, and their cache."""
