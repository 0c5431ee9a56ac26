"""Samplers: the batches of images that a network is trained on, epoch by epoch."""
