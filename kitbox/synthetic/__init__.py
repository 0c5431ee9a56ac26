"""A synthetic competition of drawn whale flukes, for demonstrations and for tests of scale.

Numbers without a reason beside them were set by eye, against photographs of humpback flukes, and
for difficulty: frozen ImageNet embeddings find a third of the whales, random networks hardly any.
"""
