"""Nearest neighbours, and the rankings made from them."""
