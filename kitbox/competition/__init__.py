"""What is asked: images, labels, query and gallery, holdout, metric and the form of the answer."""
