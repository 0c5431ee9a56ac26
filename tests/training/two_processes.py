"""The command line of kitbox, in which heads of 64 dimensions are large enough to be divided."""

from kitbox.cli.app import main
from kitbox.devices import class_shards

if __name__ == "__main__":
    class_shards.LEAST_WEIGHTS = 200
    main()
