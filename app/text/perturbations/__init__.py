"""Named, seeded perturbations of a text with an edit budget, one family a module.

A family proposes single edits of a text; an attack, or training, picks some that do not touch one
another. Edits are relative to the original text, so any choice of them replays exactly.
"""
