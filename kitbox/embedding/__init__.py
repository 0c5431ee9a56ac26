"""A trained network over images, through the cache."""
