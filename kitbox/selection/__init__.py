"""What to combine: the search for members, weights and steps, and what each of them adds."""
