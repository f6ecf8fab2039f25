"""A matrix of tiny runs on invented languages, so that whole matrices take seconds."""

from pathlib import Path

from training.xtyntegra.matrix import main

BASE = """
[run]
name = "unit"
threads = 1
[corpora]
weights = { nllb-seed = 1.0 }
languages = ["eng_Latn", "fra_Latn", "swh_Latn"]
[batches]
pairs = 16
[loss]
temperature = 0.1
"""
FILES = {
    "warm.toml": BASE
    + """
[tokenizer]
vocab_size = 400
sample_characters = 20_000
romanize = false
[encoder]
kind = "static"
dim = 16
max_tokens = 32
[optim]
steps = 6
lr = 0.01
""",
    "body.toml": BASE
    + """
[tokenizer]
vocab_size = 400
[encoder]
kind = "transformer"
dim = 8
layers = 1
heads = 1
max_tokens = 32
[optim]
steps = 2
lr = 0.001
""",
    "static.toml": BASE
    + """
[tokenizer]
source = "start"
[encoder]
kind = "static"
dim = 16
max_tokens = 32
start = "runs/matrix/warm"
[optim]
steps = 3
lr = 0.01
""",
    "small.toml": BASE
    + """
[tokenizer]
source = "start"
[encoder]
kind = "transformer"
dim = 8
max_tokens = 32
start = "runs/matrix/body"
[optim]
steps = 2
lr = 0.001
""",
    "grid.toml": """
seeds = [0, 1]
[batchings]
cross = ["batches.cross_probability=1.0"]
hybrid = ["batches.cross_probability=0.5"]
[methods]
plain = []
fgm = ["adversarial.method=fgm", "adversarial.epsilon=0.1"]
[[arms]]
name = "static"
config = "static.toml"
batchings = ["cross", "hybrid"]
methods = ["plain", "fgm"]
[[arms]]
name = "small"
config = "small.toml"
batchings = ["cross"]
methods = ["plain"]
[arms.scoring]
only = ["fra_Latn"]
[dictionary]
corpora = ["osm-id-schema"]
languages = ["fra_Latn"]
[scoring]
attack_sentences = 4
draws = 2
seed = 7
attacks = { typo = [1], word_deletion = [2] }
white_box_sentences = 3
white_box_steps = 2
epsilons = [0.1, 5.0]
pooled_sentences = 5
between = ["fra_Latn", "rus_Cyrl"]
[scoring.groups]
seen = ["fra_Latn", "swh_Latn"]
unseen = ["rus_Cyrl"]
""",
}


def write_grid(folder: Path) -> Path:
    """Write the grid and its arms' configurations; returns the grid's path."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "grid.toml"


def run_main(grid_path: Path, folder: Path, *arguments: str) -> int:
    """Run the matrix's command; returns the exit status."""
    return main(["--grid", str(grid_path), "--out", str(folder), *arguments])
