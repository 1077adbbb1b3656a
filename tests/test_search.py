"""Text search: the nearest tracks by the formula, and every case in which it must refuse."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from clap_folders import TINY, write_checkpoint
from commands import cli
from conftest import Workplace
from typer.testing import CliRunner, Result

from audio_assets import NotPublishedError, SearchRefusedError, open_warehouse
from audio_assets.cli import app
from audio_assets.corpus import index_corpus, index_info, load_index
from audio_assets.embeddings import TextTower, mean_text
from audio_assets.retrieval import QueryError
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse

TEXT = "a slow piano piece"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ClapModel:
    """A model that passes the health gate; what it finds is arbitrary, but always the same."""
    folder = write_checkpoint(tmp_path_factory.mktemp("model") / "clap", TINY)
    return ClapModel(model_id=str(folder), offline=True)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tracks: dict[str, Path], model: ClapModel
) -> Workplace:
    """Six tracks, indexed."""
    folder = tmp_path_factory.mktemp("searched")
    workplace = Workplace(folder / "music", folder / "data", model.model_id)
    for path in list(tracks.values())[::4]:
        workplace.add(path)
    report = workplace.run()
    assert report.succeeded, report
    return workplace


@pytest.fixture
def workplace(finished: Workplace, tmp_path: Path) -> Workplace:
    """A copy to change."""
    shutil.copytree(finished.data, tmp_path / "data", symlinks=True)
    return Workplace(finished.library, tmp_path / "data", finished.model)


def command(*arguments: object, **environment: str) -> Result:
    """Run a command in this process, which has the heavy libraries loaded."""
    return CliRunner().invoke(app, [*map(str, arguments)], env=environment)


def search(workplace: Workplace, model: ClapModel, text: str = TEXT, k: int = 10) -> list[tuple[str, float]]:
    """Ids and scores, best first."""
    with open_warehouse(workplace.data) as warehouse:
        found = warehouse.search_text(text, k, model=model)
    return list(zip(found["song_id"], found["score"], strict=True))


def publish(workplace: Workplace) -> None:
    """Give readers what the record has now."""
    Warehouse(data_dir=str(workplace.data)).publish()


def test_a_text_finds_tracks_by_the_cosine_of_both_centred_by_their_own_mean(
    finished: Workplace, model: ClapModel
) -> None:
    record = Warehouse(data_dir=str(finished.data)).record
    tower = model.text_tower()
    query = tower.embed([TEXT])[0].astype(np.float64) - mean_text(tower)
    stored = load_index(record)
    assert stored is not None
    index, _ = stored
    cosines = index.embeddings.astype(np.float64) @ query / np.linalg.norm(query)
    expected = sorted(zip(cosines, index.track_ids.tolist(), strict=True), reverse=True)
    hits = search(finished, model)
    assert [song_id for song_id, _ in hits] == [song_id for _, song_id in expected]
    assert [score for _, score in hits] == pytest.approx([cosine for cosine, _ in expected], abs=1e-6)
    assert search(finished, model, k=2) == hits[:2]


def test_a_track_that_was_removed_since_is_not_found(workplace: Workplace, model: ClapModel) -> None:
    first = search(workplace, model)[0]
    record = Warehouse(data_dir=str(workplace.data)).record
    table = record.read("track_manifest")
    assert table is not None
    rows = [{**row, "status": "removed"} if row["song_id"] == first[0] else row for row in table.to_pylist()]
    record.write("track_manifest", table.from_pylist(rows, schema=table.schema))
    publish(workplace)
    hits = search(workplace, model, k=5)
    assert first not in hits
    assert len(hits) == 5


def test_an_index_of_another_model_is_refused(finished: Workplace, tmp_path: Path) -> None:
    other = ClapModel(model_id=str(write_checkpoint(tmp_path / "other", TINY, seed=1)), offline=True)
    with pytest.raises(SearchRefusedError, match=r"was made with .*--clap-model"):
        search(finished, other)


def test_an_index_of_the_same_model_in_another_arithmetic_is_searched(
    workplace: Workplace, model: ClapModel
) -> None:
    """As one made in bfloat16 is on a laptop that has float32 only."""
    here = model.settings().precision
    there = ClapModel(
        model_id=model.model_id,
        offline=True,
        max_windows=2,
        precision="float32" if here == "bfloat16" else "bfloat16",
    )
    assert there.settings().version != model.settings().version
    assert search(workplace, there) == search(workplace, model)
    record = Warehouse(data_dir=str(workplace.data)).record
    index_corpus(record, there.settings(), np.ones(512, np.float32))
    info = index_info(record)
    assert info is not None
    assert info.text_mean is not None, "a mean of the same model's texts is kept"


def test_an_index_of_the_same_weights_under_another_configuration_is_refused(
    finished: Workplace, model: ClapModel, tmp_path: Path
) -> None:
    folder = shutil.copytree(model.model_id, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    config["logit_scale_init_value"] = 1.0
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SearchRefusedError, match="was made with"):
        search(finished, ClapModel(model_id=str(folder), offline=True))


def test_an_index_without_a_mean_of_texts_is_refused(workplace: Workplace, model: ClapModel) -> None:
    record = Warehouse(data_dir=str(workplace.data)).record
    index_corpus(record, model.settings(), None)
    publish(workplace)
    with pytest.raises(SearchRefusedError, match="materialise retrieval_index"):
        search(workplace, model)


def test_a_mean_of_another_models_texts_is_not_stored(workplace: Workplace, model: ClapModel) -> None:
    record = Warehouse(data_dir=str(workplace.data)).record
    index_corpus(record, replace(model.settings(), weights_sha256="0" * 64), np.ones(512, np.float32))
    info = index_info(record)
    assert info is not None
    assert info.text_mean is None


class NotToBeLoaded(ClapModel):
    """A model whose weights are not to be touched."""

    def text_tower(self) -> TextTower:
        """Be called in vain."""
        pytest.fail("loaded the model for a search that cannot be")


def test_no_index_and_no_text_are_refused_before_a_model_is_loaded(
    finished: Workplace, model: ClapModel, tmp_path: Path
) -> None:
    model = NotToBeLoaded(model_id=model.model_id, offline=True)
    empty = Workplace(tmp_path, tmp_path / "new", model.model_id)
    Warehouse(data_dir=str(empty.data)).prepare()
    with pytest.raises(NotPublishedError, match="audio-assets run"):
        search(empty, model)
    publish(empty)
    with pytest.raises(SearchRefusedError, match="nothing is indexed"):
        search(empty, model)
    with pytest.raises(SearchRefusedError, match="blank"):
        search(finished, model, "  ")


def test_a_text_that_is_the_mean_itself_has_no_direction(finished: Workplace) -> None:
    stored = load_index(Warehouse(data_dir=str(finished.data)).record)
    assert stored is not None
    index, _ = stored
    with pytest.raises(QueryError):
        index.search(np.ones((1, 512), np.float32), 3, mean=np.ones(512, np.float32))


def test_the_command_prints_ranks_and_says_what_scores_are_not(finished: Workplace, model: ClapModel) -> None:
    done = cli("search", "--text", TEXT, "-k", "3", "--data", finished.data, "--clap-model", finished.model)
    assert done.returncode == 0, done.stderr
    hits = search(finished, model, k=3)
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [[str(i), h[0]] for i, h in enumerate(hits, 1)]
    assert "do not say how well" in lines[4]


def test_the_command_refuses_a_collapsed_tower_and_names_another_model(
    workplace: Workplace, tmp_path: Path
) -> None:
    untrained = str(write_checkpoint(tmp_path / "untrained", TINY, trained=False))
    assert Workplace(workplace.library, workplace.data, untrained).run().succeeded
    done = command("search", "--text", TEXT, "--data", workplace.data, "--clap-model", untrained)
    assert done.exit_code == 1
    assert "text tower has collapsed" in done.stderr
    assert "laion/larger_clap_general@ada0c23a" in done.stderr
    assert done.stdout == ""


def test_model_check_prints_each_figure_and_fails_on_an_untrained_model(
    finished: Workplace, tmp_path: Path
) -> None:
    healthy = command("model", "check", finished.model)
    assert healthy.exit_code == 0, healthy.stderr
    assert healthy.stdout.count(" ok") == 4
    untrained = command("model", "check", write_checkpoint(tmp_path / "untrained", TINY, trained=False))
    assert untrained.exit_code == 1
    assert untrained.stdout.count("UNTRAINED") == 4
    assert "audio-assets model pull NAME" in untrained.stderr


def test_model_commands_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    for name, says in (("check", "is not on this machine"), ("pull", "could not be downloaded")):
        done = command("model", name, "laion/clap-htsat-unfused", HOME=str(tmp_path))
        assert done.exit_code == 1
        assert says in done.stderr
        assert "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a" in done.stderr


def test_the_command_refuses_a_setting_that_cannot_be(finished: Workplace) -> None:
    arguments = ("search", "--text", TEXT, "--data", finished.data, "--clap-model", finished.model)
    done = command(*arguments, AUDIO_ASSETS_CLAP_PRECISION="float16")
    assert done.exit_code == 2
    assert "AUDIO_ASSETS_CLAP_PRECISION must be auto" in done.stderr
