"""The catalogue: known individuals with their photographs, dates and places."""
