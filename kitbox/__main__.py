"""`python -m kitbox`: the same as the console script."""

from kitbox.cli.app import main

main()
