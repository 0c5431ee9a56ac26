"""Plugins: settings of one model and its training, and the files that hold them."""
