"""Checks of a collection: findings, duplicates, and labels that are probably wrong."""
