from pathlib import Path

import pytest

from training.config import TrainConfig
from training.preparation import prepare


@pytest.mark.parametrize(("precision", "warned"), [("fp32", False), ("bf16", True)])
def test_prepare_low_precision_on_a_cpu_warns_that_it_is_slow(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    config: TrainConfig,
    precision: str,
    warned: bool,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    tree = config.model_dump(exclude_unset=True)
    tree["encoder"] |= {"kind": "transformer", "heads": 2}
    tree["run"] |= {"device": "cpu", "precision": precision}
    with caplog.at_level("WARNING"):
        prepare(TrainConfig.model_validate(tree))
    assert ("on a CPU" in caplog.text) == warned
