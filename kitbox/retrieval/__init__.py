"""Nearest neighbours, and answers made of them."""
