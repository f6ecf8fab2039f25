"""Text: the only Unicode normalisation, script and language codes, perturbations."""
