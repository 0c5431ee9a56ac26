"""The terminal: parse, call one stage, print."""
