"""The shipped models fit their features, and training again gives them again."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from middlebox.detect.models import inner_tls, obfs4_bursts
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


MODELS = {"inner_tls": (inner_tls, "shadowsocks-vmess"), "obfs4_bursts": (obfs4_bursts, "obfs4")}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_a_weight_for_each_feature(name: str) -> None:
    model, _ = MODELS[name]
    assert len(model.WEIGHTS) == BURST_FEATURES
    assert model.THRESHOLD < model.EARLY_THRESHOLD
    assert LEAST_BURSTS < model.EARLY_BURSTS <= BURSTS
    assert list(model.SERVICE_THRESHOLDS.values()) == sorted(model.SERVICE_THRESHOLDS.values(), reverse=True)


@pytest.mark.parametrize("name", MODELS)
def test_training_gives_the_shipped_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np = pytest.importorskip("numpy")
    common, noise = training("common", monkeypatch), training("noise", monkeypatch)
    model, wanted = MODELS[name]
    examples = [one for one in noise.examples_of(common.rows(), wanted) if one.moments]
    moments = [features for one in examples for features in one.moments]
    is_wanted = np.array([float(one.is_wanted) for one in examples for _ in one.moments])
    weight = np.array([one.weight for one in examples for _ in one.moments])
    found = common.fit(common.table_of(moments, BURST_FEATURES), BURST_FEATURES + 1, is_wanted, weight)
    assert list(found[:-1]) == pytest.approx(model.WEIGHTS, abs=0.002)
    assert found[-1] == pytest.approx(model.BIAS, abs=0.002)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_a_card_and_a_picture(name: str) -> None:
    card = (ROOT / "docs" / "models" / f"{name}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# Model card: {name}\n")
    assert "**Where it fails.**" in card
    assert (ROOT / "docs" / "models" / f"{name}.svg").exists()
