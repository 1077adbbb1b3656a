"""What asset pages of the UI say, without a browser: columns, queries, and what a failed check asks for."""

import logging
import re
from collections import Counter

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from audio_assets import checks
from audio_assets.assets import ASSETS
from audio_assets.assets.reporting import batch_metadata, counts_table, log_failures, query
from audio_assets.warehouse import PUBLISHED, BatchSummary, arrow_schema
from resources.progress import in_words
from resources.warehouse import Warehouse

#: What they make is no table that is published.
FILES = ("notebook_exports", "embedding_projection")
TABLES = [asset for asset in ASSETS if asset.key.to_user_string() not in FILES]


def name_of(asset: dg.AssetsDefinition) -> str:
    return asset.key.to_user_string()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A connection to the published tables, all of them empty."""
    warehouse = Warehouse(data_dir=str(tmp_path_factory.mktemp("data")))
    warehouse.prepare()
    with duckdb.connect(str(warehouse.publish().path), read_only=True) as connection:
        yield connection


@pytest.mark.parametrize("asset", TABLES, ids=name_of)
def test_every_query_on_an_asset_page_is_answered(published, asset):
    blocks = re.findall(r"```sql\n(.*?)```", asset.descriptions_by_key[asset.key], re.DOTALL)
    queries = [text for text in ";".join(blocks).split(";") if text.strip()]
    assert queries
    for text in queries:
        assert published.execute(text).description


@pytest.mark.parametrize("asset", TABLES, ids=name_of)
def test_every_column_on_an_asset_page_is_explained_and_measured(asset):
    schema = asset.metadata_by_key[asset.key]["dagster/column_schema"]
    assert all(column.description for column in schema.columns)
    for column in schema.columns:
        unit = {"_s": "[s]", "_hz": "[Hz]", "_bytes": "[bytes]", "_bpm": "[BPM]"}.get(
            re.search(r"_[a-z]+$|$", column.name)[0]
        )
        assert unit is None or column.description.endswith(unit), column.name


def test_the_columns_of_every_table_are_on_some_page():
    shown = set()
    for asset in TABLES:
        metadata = asset.metadata_by_key[asset.key]
        table = metadata.get("dagster/table_name", "").removeprefix("main.")
        names = [column.name for column in metadata["dagster/column_schema"].columns]
        shown |= {f"{table}.{name}" if table else name for name in names}
    assert shown >= {f"{table}.{c.name}" for table, (_, columns) in PUBLISHED.items() for c in columns}


@pytest.fixture
def summary() -> BatchSummary:
    """A batch of four: one from before, one silent, two that took 1 s and 3 s of a worker's time."""
    failed = {"failure_code": "silent", "failure_message": "half span 0"}
    rows = [
        {"song_id": "old", "elapsed_s": 2.0},
        {"song_id": "hush", **failed},
        *({"song_id": f"{seconds:.0f}", "elapsed_s": seconds} for seconds in (1.0, 3.0)),
    ]
    table = pa.Table.from_pylist(rows, schema=arrow_schema("audio_features"))
    return BatchSummary(4, 1, 3, Counter({"silent": 1}), 1.5, table)


def test_a_batch_tells_what_was_analysed_what_failed_and_how_fast_it_went(summary, tmp_path):
    metadata = batch_metadata(summary, "audio_features", "batch-000007", Warehouse(data_dir=str(tmp_path)))
    told = {name: value for name, value in metadata.items() if isinstance(value, int | float)}
    assert told == {
        "dagster/partition_row_count": 3,
        "tracks_live": 4,
        "tracks_analysed": 3,
        "tracks_failed": 1,
        "failed_silent": 1,
        "tracks_reused": 1,
        "tracks_computed": 3,
        "elapsed_s": 1.5,
        "tracks_per_s": 2.0,
        "seconds_per_track": 2.0,
    }
    (failed,) = metadata["failed_tracks"].records
    assert failed.data == {"song_id": "hush", "failure_code": "silent", "failure_message": "half span 0"}
    assert "WHERE batch = 'batch-000007'" in metadata["query"].value
    assert metadata["file"].value.endswith("batch=batch-000007/part.parquet")


def test_the_log_of_a_run_names_the_tracks_that_failed(summary, caplog):
    log_failures(logging.getLogger("run"), summary)
    assert caplog.messages == ["hush: silent: half span 0"]


def test_a_command_on_a_page_survives_a_folder_with_spaces(tmp_path):
    text = query(tmp_path / "my music", "SELECT 1", live=True).value
    assert text == f"`audio-assets sql --live --data '{tmp_path}/my music' \"SELECT 1\"`"


def test_a_table_survives_a_name_with_bars():
    assert "| genre not only A\\|B | 3 |" in counts_table({"genre not only A|B": 3}, "step").value


def test_a_failed_check_names_the_first_tracks_lists_the_rest_and_says_what_to_do():
    ids = [f"track-{number:02d}" for number in range(30)]
    result = checks._result([f"wrong: {checks._shown(ids)}"], do="Mend them.", tracks=ids, rows=30)
    assert not result.passed
    assert result.description.endswith("track-09 and 20 more. Mend them.")
    assert [record.data["song_id"] for record in result.metadata["wrong_tracks"].records] == ids
    good = checks._result([], do="Mend them.", rows=30)
    assert (good.passed, good.description) == (True, "rows: 30")


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [(0, "0 s"), (99, "99 s"), (150, "2 min"), (5_900, "98 min"), (3 * 3600 + 300, "3 h 05 min")],
)
def test_time_to_go_is_given_as_a_person_would(duration_s, words):
    assert in_words(duration_s) == words
