"""Named, seeded perturbations of a text with an edit budget, one family a module."""
