"""The command line: each command parses its options, runs stages and prints the results."""
