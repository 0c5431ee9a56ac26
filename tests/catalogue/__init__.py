"""Tests of the catalogue: reading, growth, exports."""
