"""Training: the loop, its data, checkpoints and runs on disk, and sweeps over variants."""
