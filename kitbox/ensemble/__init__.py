"""Several embeddings into one."""
