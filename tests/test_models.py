"""The shipped models fit their features, and training again gives them again."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from middlebox.detect.models import inner_tls
from middlebox.detect.size_patterns import BURST_FEATURES, BURSTS, LEAST_BURSTS

ROOT = Path(__file__).parent.parent


def training(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of training/, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "training"))
    spec = importlib.util.spec_from_file_location(name, ROOT / "training" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_inner_tls_has_a_weight_for_each_feature() -> None:
    assert len(inner_tls.WEIGHTS) == BURST_FEATURES
    assert inner_tls.WEAK_THRESHOLD < inner_tls.THRESHOLD < inner_tls.EARLY_THRESHOLD
    assert LEAST_BURSTS < inner_tls.EARLY_BURSTS <= BURSTS


def test_training_gives_the_shipped_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    common, model = training("common", monkeypatch), training("inner_tls", monkeypatch)
    examples = [one for one in model.examples_of(common.rows()) if one.moments]
    moments = [features for one in examples for features in one.moments]
    wanted = [float(one.is_wanted) for one in examples for _ in one.moments]
    strength = [one.weight for one in examples for _ in one.moments]
    weights = common.fit(common.matrix(moments, BURST_FEATURES), _array(wanted), _array(strength))
    assert list(weights[:-1]) == pytest.approx(inner_tls.WEIGHTS, abs=0.002)
    assert weights[-1] == pytest.approx(inner_tls.BIAS, abs=0.002)


def _array(numbers: list[float]) -> object:
    import numpy as np

    return np.array(numbers)
