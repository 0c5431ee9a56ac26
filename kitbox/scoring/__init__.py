"""Metrics, their intervals, and the local score of a competition."""
