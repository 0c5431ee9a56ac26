"""Backbone, pooling, neck and loss heads as torch modules; inference."""
