"""Runs the console script as `python -m kitbox`."""

from kitbox.cli.app import main

main()
