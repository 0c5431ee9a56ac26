"""Files of weights: where they lie, here or at a hub, and the tensors that they hold."""
