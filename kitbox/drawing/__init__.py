"""A drawn competition of whale flukes, for demonstrations and for tests of scale."""
