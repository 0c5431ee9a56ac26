"""HTML pages about data, duplicates, findings and results."""
