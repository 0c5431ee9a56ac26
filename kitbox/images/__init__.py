"""Pixels: what image files hold, how they are read, and what a network sees of them."""
