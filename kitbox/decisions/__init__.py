"""What people decided about images and individuals, which every later step applies."""
