"""Getting at a model: folders, our cache, the hub's cache, downloads; and pickles kept at a distance."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from clap_folders import TINY, as_pickle, into_hub_cache, write_checkpoint
from fresh_process import run_fresh
from safetensors.torch import load_file
from typer.testing import CliRunner

from audio_assets.cli import app
from audio_assets.embeddings import (
    DEFAULT_MODEL_ID,
    DEFAULT_REVISION,
    Checkpoint,
    ModelMissingError,
    ModelUnusableError,
    _convert_child,
    checkpoints,
    published,
    resolve_checkpoint,
)
from audio_assets.embeddings.conversion import convert_pickle
from audio_assets.embeddings.files import file_sha256

STRANGER = "someone/else"
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", TINY)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copied"))


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty, and no network behind it."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    return cache


def local(folder: Path) -> Checkpoint:
    return resolve_checkpoint(str(folder), "", Path("unused"), offline=True)


def same_weights(folder: Path, original: Path) -> bool:
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, original))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- folders and names


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
)
def test_an_incomplete_folder_names_the_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelUnusableError, match=name):
        local(folder)


def test_weights_cut_short_are_refused(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1000])
    with pytest.raises(ModelUnusableError, match="damaged"):
        local(folder)


def test_a_local_pickle_is_refused(folder: Path) -> None:
    as_pickle(folder)
    with pytest.raises(ModelUnusableError, match=r"pytorch_model\.bin only"):
        local(folder)


@pytest.mark.parametrize("name", ["/no/such/folder", "../../etc/x", "name", "a/b/c", "laion/..", ""])
def test_a_name_that_is_no_model_is_refused_before_any_download(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "download", lambda *_: pytest.fail("tried to download"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ModelMissingError, ModelUnusableError)):
        resolve_checkpoint(name, COMMIT, tmp_path, offline=False)


@pytest.mark.parametrize(("revision", "says"), [("", "no revision is pinned"), ("main", "not a commit")])
def test_only_a_commit_names_a_model_for_good(tmp_path: Path, revision: str, says: str) -> None:
    with pytest.raises(ModelMissingError, match=says):
        resolve_checkpoint(STRANGER, revision, tmp_path, offline=False)


@pytest.mark.parametrize("model_id", published.PUBLISHED_MODELS)
def test_a_missing_model_says_what_to_run(model_id: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=f"audio-assets model pull {model_id}") as caught:
        resolve_checkpoint(model_id, "", tmp_path, offline=True)
    assert published.PUBLISHED_MODELS[model_id].revision in str(caught.value)


def test_no_network_is_a_missing_model_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ModelMissingError, match=r"could not be downloaded .*audio-assets model pull"):
        resolve_checkpoint(DEFAULT_MODEL_ID, "", tmp_path, offline=False)
    assert time.monotonic() - started < 8


# --- pickles


def test_conversion_keeps_the_weights_whatever_the_users_path_holds(
    folder: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickle_path = as_pickle(folder)
    (tmp_path / "torch.py").write_text("raise SystemExit('imported from the user')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    convert_pickle(pickle_path, file_sha256(pickle_path), folder / "model.safetensors")
    assert same_weights(folder, made)


def test_conversion_opens_nothing_under_another_hash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pickle_path = as_pickle(folder)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("read an unverified pickle"))
    with pytest.raises(ModelUnusableError, match="sha256"):
        convert_pickle(pickle_path, "0" * 64, folder / "model.safetensors")
    assert not (folder / "model.safetensors").exists()


class Bomb:
    """Unpickles to a call, of a kind that the audit hook lets pass."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("content", ["bomb", "nested"])
def test_a_pickle_of_more_than_tensors_is_not_converted_and_runs_nothing(
    tmp_path: Path, content: str
) -> None:
    mark, path = tmp_path / "ran", tmp_path / "pytorch_model.bin"
    torch.save({"bomb": {"a": Bomb(mark)}, "nested": {"state_dict": {"a": torch.ones(2)}}}[content], path)
    with pytest.raises(ModelUnusableError, match=r"was not converted.*Error"):
        convert_pickle(path, file_sha256(path), tmp_path / "model.safetensors")
    assert not mark.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["pytorch_model.bin"]


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "tried socket."),
        ("import subprocess; subprocess.run(['true'])", "tried subprocess."),
        ("import os; os.system('true')", "tried os.system"),
        ("bytearray(2**31)", "MemoryError"),
    ],
)
def test_the_converting_process_is_stopped_where_it_reaches_out(attempt: str, says: str) -> None:
    code = f"import runpy; runpy.run_path({_convert_child.__file__!r})['confine'](2**28); {attempt}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1]


def test_no_code_in_a_checkpoint_is_run_or_offered(folder: Path, tmp_path: Path) -> None:
    """Transformers asks on the terminal, and then imports what the folder names."""
    mark = tmp_path / "ran"
    (folder / "theirs.py").write_text(
        "from transformers import RobertaTokenizer\n\n\nclass Theirs(RobertaTokenizer):\n    pass\n\n\n"
        f"open({str(mark)!r}, 'w')\n"
    )
    for name, changes in (
        ("config.json", {"model_type": "theirs"}),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "Theirs", "auto_map": {"AutoTokenizer": ["theirs.Theirs", None]}},
        ),
    ):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    done = CliRunner().invoke(app, ["model", "check", str(folder)], input="y\n")
    assert not mark.exists()
    assert done.exit_code == 1
    assert "Do you wish to run" not in done.output


# --- the hub's cache


def test_safetensors_in_the_hubs_cache_are_used_where_they_are(
    folder: Path, made: Path, hub_cache: Path, tmp_path: Path
) -> None:
    snapshot = into_hub_cache(folder, hub_cache, DEFAULT_MODEL_ID, DEFAULT_REVISION)
    found = resolve_checkpoint(DEFAULT_MODEL_ID, "", tmp_path / "cache", offline=True)
    assert found.path == snapshot
    assert found.weights_sha256 == local(made).weights_sha256
    assert "hub's cache" in found.verified_by
    assert not (tmp_path / "cache").exists()


def test_a_pickle_in_the_hubs_cache_is_converted_once_into_ours(
    folder: Path, made: Path, hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_pickle(folder)
    snapshot = into_hub_cache(folder, hub_cache, STRANGER, COMMIT)
    found = resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=True)
    assert found.path == tmp_path / "cache" / f"someone--else@{COMMIT}"
    assert same_weights(found.path, made)
    assert file_sha256(snapshot / "pytorch_model.bin") in found.verified_by
    monkeypatch.setattr(checkpoints, "convert_pickle", lambda *_: pytest.fail("converted again"))
    assert resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=True) == found


def test_a_cached_pickle_with_another_hash_than_the_published_is_refused(
    folder: Path, hub_cache: Path, tmp_path: Path
) -> None:
    as_pickle(folder)
    into_hub_cache(folder, hub_cache, DEFAULT_MODEL_ID, DEFAULT_REVISION)
    with pytest.raises(ModelUnusableError, match="expected 5c289311"):
        resolve_checkpoint(DEFAULT_MODEL_ID, "", tmp_path / "cache", offline=True)
    assert not list(tmp_path.glob("cache/laion*"))


def test_a_blob_that_is_not_what_its_name_says_is_refused(
    folder: Path, hub_cache: Path, tmp_path: Path
) -> None:
    snapshot = into_hub_cache(folder, hub_cache, DEFAULT_MODEL_ID, DEFAULT_REVISION)
    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelUnusableError, match="damaged or"):
        resolve_checkpoint(DEFAULT_MODEL_ID, "", tmp_path / "cache", offline=True)


def test_half_a_download_in_the_hubs_cache_is_no_model(folder: Path, hub_cache: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    into_hub_cache(folder, hub_cache, DEFAULT_MODEL_ID, DEFAULT_REVISION)
    with pytest.raises(ModelMissingError, match="not on this machine"):
        resolve_checkpoint(DEFAULT_MODEL_ID, "", tmp_path / "cache", offline=True)


# --- downloads


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A model hub that serves what is in `folder`; the hashes it states can be changed."""
    stated: dict[str, str] = {}

    def model_info(_self: object, _model_id: str, **_options: object) -> SimpleNamespace:
        files = [
            SimpleNamespace(
                rfilename=path.name,
                lfs=SimpleNamespace(sha256=stated.get(path.name, file_sha256(path)))
                if path.suffix in (".bin", ".safetensors")
                else None,
            )
            for path in folder.iterdir()
        ]
        return SimpleNamespace(siblings=files)

    def snapshot_download(_id: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        Path(local_dir, ".cache").mkdir(parents=True)
        for path in folder.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return stated


@pytest.mark.usefixtures("hub")
def test_a_published_pickle_is_verified_converted_and_found_again_offline(
    folder: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = file_sha256(as_pickle(folder))
    model = published.PublishedModel("laion/new", COMMIT, sha256)
    monkeypatch.setitem(published.PUBLISHED_MODELS, "laion/new", model)
    fetched = resolve_checkpoint("laion/new", "", tmp_path / "cache", offline=False)
    assert fetched.path.name == f"laion--new@{COMMIT}"
    assert fetched.verified_by == f"our table's hash of pytorch_model.bin, {sha256}; converted from it"
    assert same_weights(fetched.path, made)
    assert not list(tmp_path.glob("cache/**/*.bin"))
    assert resolve_checkpoint("laion/new", "", tmp_path / "cache", offline=True) == fetched


@pytest.mark.usefixtures("hub")
def test_a_pull_that_was_stopped_after_its_conversion_is_gone_on_with(
    folder: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_pickle(folder)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "file_sha256", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=False)
    fetched = resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=False)
    assert same_weights(fetched.path, made)


@pytest.mark.usefixtures("hub")
def test_safetensors_are_preferred_and_no_pickle_is_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not looked at")
    copy, names = shutil.copy, []
    monkeypatch.setattr(shutil, "copy", lambda source, to: names.append(source.name) or copy(source, to))
    fetched = resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=False)
    assert "model.safetensors" in names
    assert "pytorch_model.bin" not in names
    assert fetched.verified_by.startswith("the hub's hash of model.safetensors")


@pytest.mark.usefixtures("hub")
def test_a_download_that_is_not_the_published_pickle_never_becomes_a_model(
    folder: Path, tmp_path: Path
) -> None:
    as_pickle(folder)
    with pytest.raises(ModelUnusableError, match="expected 5c289311"):
        resolve_checkpoint(DEFAULT_MODEL_ID, "", tmp_path / "cache", offline=False)
    with pytest.raises(ModelMissingError):
        resolve_checkpoint(DEFAULT_MODEL_ID, "", tmp_path / "cache", offline=True)


@pytest.mark.parametrize("pickled", [False, True])
def test_a_download_that_is_not_what_the_hub_states_never_becomes_a_model(
    hub: dict[str, str], folder: Path, tmp_path: Path, pickled: bool
) -> None:
    hub[as_pickle(folder).name if pickled else "model.safetensors"] = "0" * 64
    with pytest.raises(ModelUnusableError, match=r"sha256|not what the hub states"):
        resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=False)
    assert not (tmp_path / "cache" / f"someone--else@{COMMIT}").exists()


@pytest.mark.usefixtures("hub")
def test_weights_that_change_in_our_cache_are_noticed(folder: Path, tmp_path: Path) -> None:
    fetched = resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=False)
    weights = np.fromfile(fetched.weights_path, np.uint8)
    weights[-1] ^= 1
    weights.tofile(fetched.weights_path)
    with pytest.raises(ModelUnusableError, match="damaged or changed"):
        resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=True)


def test_the_published_table_holds_commits_and_hashes() -> None:
    for model in published.PUBLISHED_MODELS.values():
        assert len(bytes.fromhex(model.revision)) == 20
        assert model.pickle_sha256 is None or len(bytes.fromhex(model.pickle_sha256)) == 32


def test_provenance_is_kept_beside_the_weights(folder: Path, hub_cache: Path, tmp_path: Path) -> None:
    as_pickle(folder)
    into_hub_cache(folder, hub_cache, STRANGER, COMMIT)
    found = resolve_checkpoint(STRANGER, COMMIT, tmp_path / "cache", offline=True)
    provenance = json.loads((found.path / "provenance.json").read_text())
    assert provenance["weights_sha256"] == found.weights_sha256
    assert (provenance["model_id"], provenance["revision"]) == (STRANGER, COMMIT)


def test_tests_see_no_model_of_the_developers() -> None:
    """Nor do the processes they start; the compiled feature code is still the user's."""
    code = (
        "from pathlib import Path; from huggingface_hub import constants; print(constants.HF_HUB_CACHE);"
        "print(Path('~').expanduser()); from audio_assets.features.fast._compiled import cache_folder;"
        "print(cache_folder())"
    )
    hub, home, kernels = run_fresh(code).split()
    user = pwd.getpwuid(os.getuid()).pw_dir
    assert not Path(home).is_relative_to(Path(user, ".cache"))
    assert Path(home) != Path(user)
    assert Path(hub).is_relative_to(home)
    assert not Path(kernels).is_relative_to(home)
