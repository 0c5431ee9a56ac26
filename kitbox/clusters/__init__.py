"""Clusters of images: trees of linkage, constraints on them, and anchors."""
