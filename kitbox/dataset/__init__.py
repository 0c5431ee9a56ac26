"""The images of a competition: collection, checks, duplicates, and probable label errors."""
