"""A classifier as a function from texts to classes, and how often it is right."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from app.text.normalize import normalize
from training.classification.model import PairClassifier
from training.classification.tokenization import PairTokenizer

Classify = Callable[[Sequence[str], Sequence[str]], NDArray[np.int64]]
"""From first and second sentences to the index of each pair's class, shape (pairs,)."""


def as_classify(model: PairClassifier, tokenizer: PairTokenizer, batch_size: int = 128) -> Classify:
    """Wrap a classifier and its tokenizer as a function of texts; without dropout."""

    def classify(first: Sequence[str], second: Sequence[str]) -> NDArray[np.int64]:
        first, second = [normalize(text) for text in first], [normalize(text) for text in second]
        found = np.zeros(len(first), np.int64)
        sizes = [len(a) + len(b) for a, b in zip(first, second, strict=True)]
        order = np.argsort(sizes, kind="stable")  # little padding within a batch
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                block = tokenizer.encode([first[i] for i in rows], [second[i] for i in rows])
                ids, mask = block.input_ids.to(device), block.attention_mask.to(device)
                scores = model(ids, mask)  # (rows, classes)
                found[rows] = scores.argmax(dim=1).cpu().numpy()
        model.train(was_training)
        return found

    return classify
