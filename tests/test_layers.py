"""The import rules: text flows one way, and so do the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"app", "training", "export"}

# package -> what of ours it may import (longest matching prefix counts)
ALLOWED_OURS = {
    "app.errors": set(),
    "app.text": {"app.errors", "app.text"},
    "app.checked": {"app.errors"},
    "app.artifact": {"app.errors", "app.checked"},
    "app.address": {"app.errors"},
    "app.variables": {"app.errors", "app.address"},
    "app.settings": {"app.errors", "app.address", "app.variables"},
    "app.encoder": {"app.errors", "app.text", "app.artifact", "app.encoder"},
    "app.retrieval": {"app.errors", "app.text", "app.retrieval"},
    "app.robustness": {"app.errors", "app.text", "app.retrieval", "app.robustness"},
    "app": {"app"},
    "training": {
        "training",
        "app.errors",
        "app.text",
        "app.artifact",
        "app.retrieval",
        "app.robustness",
        "app.encoder",
    },
    # What the benchmark scores: what export takes, and services; nothing there imports it.
    "training.xtyntegra.encoders": {
        "training",
        "export.sources",
        "app.errors",
        "app.retrieval",
        "app.encoder",
    },
    "training.xtyntegra.remote": {
        "training",
        "app.errors",
        "app.retrieval",
        "app.client",
        "app.probing.endpoint",
    },
    # The white box is looked into as a probe does.
    "training.xtyntegra.whitebox": {"training", "app.errors", "app.robustness", "app.insight"},
    "export": {
        "export",
        "training",
        "app.errors",
        "app.text",
        "app.checked",
        "app.artifact",
        "app.retrieval",
        "app.robustness",
        "app.encoder",
    },
}

# third-party package -> the only packages of ours that may import it
ONLY_IN = {
    "fastapi": {"app.api", "app.main", "app.web"},
    "starlette": {"app.api", "app.main", "app.web"},
    "onnxruntime": {"app.encoder.session", "export.half"},
    "qdrant_edge": {"app.retrieval.edge"},
    "torch": {"training", "export"},
    "transformers": {"training", "export"},
    "safetensors": {"training", "export"},
    "qdrant_client": {"app.retrieval.qdrant"},
    "psycopg": {"app.retrieval.postgres"},
    "psycopg_pool": {"app.retrieval.postgres"},
    "pyarrow": {"app.bulk", "training", "export"},
    "ray": {"app.bulk.cluster"},
    "onnx": {"export"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in sorted(OURS):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imported(path: Path, module: str) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = f"{parent}.{node.module or ''}".strip(".") if node.level else node.module or ""
            yield source
            # `from app import encoder` imports a module too
            if source in OURS:
                yield from (f"{source}.{alias.name}" for alias in node.names)


def is_within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def rule_for(module: str) -> set[str]:
    prefixes = [rule for rule in ALLOWED_OURS if is_within(module, {rule})]
    return ALLOWED_OURS[max(prefixes, key=len)]


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value))
def test_module_imports_follow_the_layers(module: str, path: Path) -> None:
    allowed = rule_for(module)
    for name in imported(path, module):
        root = name.partition(".")[0]
        # bare `app` is the package itself, which holds nothing but the version
        if root in OURS and name not in OURS:
            # `from app import __version__` names an attribute, not a module
            assert is_within(name, allowed) or name == "app.__version__", f"{module} imports {name}"
        elif root in ONLY_IN:
            assert is_within(module, ONLY_IN[root]), f"{module} imports {name}"


def test_every_kind_of_import_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "probe.py"
    source.write_text("import torch.nn\nfrom app import main\nfrom .text import script\n")
    assert list(imported(source, "app.probe")) == ["torch.nn", "app", "app.main", "app.text"]


def test_service_imports_nothing_heavy() -> None:
    code = (
        "import sys, app.main, app.cli\n"
        "heavy = {'torch', 'transformers', 'safetensors', 'pyarrow', 'ray', 'scipy'}\n"
        "heavy |= {'onnxruntime', 'training', 'export', 'psycopg', 'psycopg_pool'}\n"
        "heavy |= {'qdrant_client'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == ""
