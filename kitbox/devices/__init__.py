"""Processes that share a command's work: on devices of one machine or several, or on a cluster."""
