"""Sentence-pair classification with the same robust losses: XNLI and PAWS-X."""
