"""Boxes: imported from other programs, or predicted by a detector trained on a few."""
