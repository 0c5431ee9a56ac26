"""Fusion: unlike signals of pairs of photographs joined into one probability."""
