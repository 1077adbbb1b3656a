"""The CLAP model as a resource: one load a process, settings without torch, loud about bad weights."""

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clap_folders import TINY, write_checkpoint

from audio_assets.definitions import build_defs
from audio_assets.embeddings import DEMO_MARKER, ModelMissingError, resolve_precision
from resources import clap_model
from resources.clap_model import (
    ClapModel,
    ModelSettingError,
    ModelUnhealthyError,
    clap_model_from_environment,
)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory) -> Path:
    """A checkpoint that looks trained and says that it is the demo's."""
    return write_checkpoint(tmp_path_factory.mktemp("models") / "demo", {**TINY, DEMO_MARKER: True})


@pytest.fixture
def fresh_process(monkeypatch):
    """The state of a process that has loaded nothing yet."""
    monkeypatch.setattr(clap_model, "_ENCODERS", {})
    monkeypatch.setattr(clap_model, "_HEALTH", {})


@pytest.fixture
def untrained_folder(tmp_path) -> Path:
    return write_checkpoint(tmp_path / "untrained", TINY, trained=False)


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.usefixtures("fresh_process")
def test_equal_settings_share_one_encoder(demo_folder):
    first = ClapModel(model_id=str(demo_folder)).encoder()
    assert ClapModel(model_id=str(demo_folder)).encoder() is first
    assert ClapModel(model_id=str(demo_folder), max_windows=3).encoder() is first
    auto, other = sorted(("float32", "bfloat16"), key=lambda name: name != resolve_precision("auto"))
    assert ClapModel(model_id=str(demo_folder), precision=auto).encoder() is first
    assert ClapModel(model_id=str(demo_folder), precision=other).encoder() is not first


@pytest.mark.usefixtures("fresh_process")
def test_a_configuration_that_changed_on_disk_is_loaded_anew(tmp_path):
    """Else vectors of the old one would be recorded under the version of the new one."""
    folder = write_checkpoint(tmp_path / "model", TINY)
    first, version = (
        ClapModel(model_id=str(folder)).encoder(),
        ClapModel(model_id=str(folder)).settings().version,
    )
    config = {**TINY, "audio_config": {**TINY["audio_config"], "layer_norm_eps": 0.1}}
    (folder / "config.json").write_text(json.dumps(config))
    assert ClapModel(model_id=str(folder)).settings().version != version
    assert ClapModel(model_id=str(folder)).encoder() is not first


@pytest.mark.usefixtures("fresh_process")
def test_threads_that_ask_at_once_share_one_load(demo_folder):
    resources = [ClapModel(model_id=str(demo_folder)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        encoders = list(pool.map(ClapModel.encoder, resources))
    assert len({id(encoder) for encoder in encoders}) == 1


def test_settings_need_no_torch(demo_folder):
    code = (
        "import sys; from resources.clap_model import ClapModel;"
        f"print(ClapModel(model_id={str(demo_folder)!r}).settings().version);"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == ClapModel(model_id=str(demo_folder)).settings().version


def test_settings_follow_the_weights_and_the_windows(demo_folder, untrained_folder):
    settings = ClapModel(model_id=str(demo_folder)).settings()
    assert settings.windowing.max_windows == 6
    assert (settings.precision, settings.backend) == (resolve_precision("auto"), "torch")
    others = [
        ClapModel(model_id=str(demo_folder), max_windows=3),
        ClapModel(model_id=str(demo_folder), backend="openvino"),
        ClapModel(model_id=str(untrained_folder)),
    ]
    assert len({settings.version, *(other.settings().version for other in others)}) == 4


def test_batch_size_changes_no_version(demo_folder):
    versions = {ClapModel(model_id=str(demo_folder), batch_size=n).settings().version for n in (0, 1, 8)}
    assert len(versions) == 1


@pytest.mark.usefixtures("fresh_process")
def test_the_demo_model_is_announced_once(demo_folder, warnings):
    for _ in range(2):
        ClapModel(model_id=str(demo_folder)).encoder()
    (message,) = warnings()
    assert "DO NOT TRUST" in message
    assert "demo model" in message


@pytest.mark.usefixtures("fresh_process")
def test_an_untrained_model_is_announced_with_its_siblings(untrained_folder, warnings):
    ClapModel(model_id=str(untrained_folder)).encoder()
    messages = warnings()
    assert len(messages) == 4, "each mark once"
    assert sum("laion/larger_clap_general@ada0c23a" in message for message in messages) == 1


@pytest.mark.usefixtures("fresh_process")
def test_strict_refuses_even_when_already_loaded(demo_folder):
    ClapModel(model_id=str(demo_folder)).encoder()
    with pytest.raises(ModelUnhealthyError, match="demo model"):
        ClapModel(model_id=str(demo_folder), strict=True).encoder()


def test_the_default_model_is_the_named_one_and_missing_offline(tmp_path):
    with pytest.raises(ModelMissingError, match="audio-assets model pull laion/larger_clap_music"):
        ClapModel(cache_dir=str(tmp_path), offline=True).settings()


@pytest.mark.usefixtures("fresh_process")
def test_no_text_is_embedded_by_a_collapsed_tower(untrained_folder):
    with pytest.raises(ModelUnhealthyError, match=r"text tower has collapsed.*laion/larger_clap_general"):
        ClapModel(model_id=str(untrained_folder)).text_tower()


@pytest.mark.usefixtures("fresh_process")
def test_the_demo_model_embeds_texts(demo_folder):
    model = ClapModel(model_id=str(demo_folder))
    assert model.text_tower().embed(["a flute", "a bell"]).shape == (2, 512)
    assert "demo model" in model.concerns()[0]


@pytest.mark.usefixtures("fresh_process")
def test_a_model_that_looks_trained_embeds_texts_and_raises_no_concern(tmp_path, warnings):
    model = ClapModel(model_id=str(write_checkpoint(tmp_path / "trained", TINY)), strict=True)
    model.encoder()
    assert model.concerns() == ()
    assert warnings() == []
    assert model.text_tower().embed(["a flute"]).shape == (1, 512)


# --- the environment


def test_every_setting_of_the_environment_reaches_the_model(monkeypatch):
    chosen = {
        "PRECISION": "float32",
        "BACKEND": "openvino",
        "WINDOWS": "3",
        "DEVICE": "cuda:1",
        "STRICT": "1",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(f"AUDIO_ASSETS_CLAP_{name}", value)
    model = clap_model_from_environment(model_id="here")
    assert (model.model_id, model.precision, model.backend) == ("here", "float32", "openvino")
    assert (model.max_windows, model.device, model.strict) == (3, "cuda:1", True)
    monkeypatch.setenv("AUDIO_ASSETS_CLAP_STRICT", "0")
    assert not clap_model_from_environment().strict
    assert clap_model_from_environment(precision="bfloat16").precision == "bfloat16", "what is given wins"


def test_the_code_location_takes_its_model_from_the_environment(demo_folder, monkeypatch):
    monkeypatch.setenv("AUDIO_ASSETS_CLAP_MODEL", str(demo_folder))
    monkeypatch.setenv("AUDIO_ASSETS_CLAP_WINDOWS", "2")
    model = build_defs().resources["clap_model"]
    assert (model.model_id, model.max_windows) == (str(demo_folder), 2)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PRECISION", "float16", "auto, float32 or bfloat16"),
        ("BACKEND", "onnx", "torch or openvino"),
        ("WINDOWS", "0", "a number from 1 on"),
        ("WINDOWS", "many", "a number from 1 on"),
        ("DEVICE", "gpu", "cuda:NUMBER"),
        ("STRICT", "maybe", "0 or 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(monkeypatch, name, value, says):
    monkeypatch.setenv(f"AUDIO_ASSETS_CLAP_{name}", value)
    with pytest.raises(ModelSettingError, match=f"AUDIO_ASSETS_CLAP_{name} must be .*{says}"):
        clap_model_from_environment()
