"""Data in: what there is, fetching public sources, converting own files, building dictionaries.

Behind ``tyntegra data`` and ``python -m training.data``; imports no torch.
"""
