"""A drawn competition of whale flukes, for demonstrations and for tests of scale.

Numbers without a reason beside them were set by eye, against photographs of humpback flukes, and
by difficulty: frozen ImageNet embeddings find a third of the whales, random networks hardly any.
"""
