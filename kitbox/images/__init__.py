"""Image files: decoding, augmentation, statistics, and what is cached of them."""
