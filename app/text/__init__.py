"""Text: the only Unicode normalization, script and language codes, perturbations."""
