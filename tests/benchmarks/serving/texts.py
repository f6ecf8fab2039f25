"""Texts of mixed lengths that every machine has: the docstrings of the standard library."""

import ast
import random
import sysconfig
from pathlib import Path


def docstrings(count: int, seed: int = 0) -> list[str]:
    """Collect sentences and paragraphs of the standard library's docstrings."""
    sentences: set[str] = set()
    paragraphs: set[str] = set()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                text = " ".join(paragraph.split())
                if len(text) > 200:
                    paragraphs.add(text)
                sentences.update(part for part in text.split(". ") if len(part) > 20)
    rng = random.Random(seed)
    long = rng.sample(sorted(paragraphs), count * 15 // 100)
    texts = long + rng.sample(sorted(sentences - paragraphs), count - len(long))
    rng.shuffle(texts)
    return texts
