"""Ensembles: members joined into meta-embeddings, their answers, and pseudo-labels."""
