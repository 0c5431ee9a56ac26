"""A local page to walk through images and to decide."""
