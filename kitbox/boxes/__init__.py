"""Boxes: a detector that learns from a few and predicts the rest."""
