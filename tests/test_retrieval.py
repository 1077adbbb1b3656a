"""Search: against plain products in float64, filtered, of stored tracks, and approximate."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_storage import BATCH, SETTINGS, fill, rebuild

from audio_assets.corpus import index_corpus, load_index, normalise_corpus, vectors_of
from audio_assets.embeddings import sanity_record
from audio_assets.retrieval import ApproximateIndex, QueryError, RetrievalIndex, UnknownTrackError, exact
from audio_assets.warehouse import Record, RecordError, fingerprint

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from retrieval_cost.vectors import raw_blocks

N, HELD_OUT = 6_000, 200


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    """Vectors in a cone, as CLAP's are; the last ones are not in the index."""
    return np.concatenate(list(raw_blocks(N + HELD_OUT)))


@pytest.fixture(scope="module")
def index(raw: np.ndarray) -> RetrievalIndex:
    mean = raw[:N].mean(axis=0, dtype=np.float64)
    ids = np.array([f"track {row}" for row in range(N)])
    return RetrievalIndex(ids, unit(raw[:N] - mean), mean.astype(np.float32))


@pytest.fixture(scope="module")
def quick(index: RetrievalIndex) -> RetrievalIndex:
    """The same with an approximate index."""
    built = ApproximateIndex.build(index.embeddings, threads=1)
    return RetrievalIndex(index.track_ids, index.embeddings, index.mean, built)


def expected(
    index: RetrievalIndex, queries: np.ndarray, k: int, among: np.ndarray | None = None
) -> np.ndarray:
    """Rows by plain float64, ties by row."""
    centred = queries.astype(np.float64) - index.mean
    scores = (centred / np.linalg.norm(centred, axis=1, keepdims=True)) @ index.embeddings.T.astype(
        np.float64
    )
    if among is not None:
        scores[:, ~among] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, wanted, strict=True)]))


@pytest.mark.parametrize("k", [1, 10, 333])
@pytest.mark.parametrize("share", [None, 0.5, 0.01])
def test_exact_search_is_the_plain_product(
    index: RetrievalIndex, raw: np.ndarray, monkeypatch: pytest.MonkeyPatch, k: int, share: float | None
) -> None:
    monkeypatch.setattr(exact, "_MOST_ROWS", 700)  # so that several blocks have a say
    among = None if share is None else np.random.default_rng(0).random(N) < share
    rows = expected(index, raw[N : N + 20], k, among)
    rows = rows[:, : N if among is None else int(among.sum())]
    ids, scores = index.search(raw[N : N + 20], k, among=among)
    assert np.array_equal(ids, index.track_ids[rows])
    assert np.all(np.diff(scores, axis=1) <= 0)
    products = np.einsum("qd,qkd->qk", unit(raw[N : N + 20] - index.mean), index.embeddings[rows])
    assert scores == pytest.approx(products, abs=1e-6)


def test_an_answer_does_not_depend_on_the_company(index: RetrievalIndex, raw: np.ndarray) -> None:
    ids, scores = index.search(raw[N:], 10)
    for row in (0, 77, HELD_OUT - 1):
        alone = index.search(raw[N + row : N + row + 1], 10)
        assert np.array_equal(alone[0][0], ids[row])
        assert np.array_equal(alone[1][0], scores[row])


def test_copies_come_in_the_order_of_the_index_and_a_track_before_its_copies() -> None:
    rows = unit(np.random.default_rng(0).standard_normal((3_001, 64)))
    rows[1_000:1_100] = rows[2_500]
    ids = np.array([str(row) for row in range(len(rows))])
    index = RetrievalIndex(ids, rows, np.zeros(64, np.float32))
    found, scores = index.search(rows[2_500:2_501], 7)
    assert found[0].tolist() == [str(row) for row in range(1_000, 1_007)]
    assert len(set(scores[0].tolist())) == 1
    found, scores = index.neighbours(["2500", "1050", "3"], 3)
    assert found[0].tolist() == ["2500", "1000", "1001"]
    assert found[1].tolist() == ["1050", "1000", "1001"]
    assert found[2, 0] == "3"
    assert scores[:, 0] == pytest.approx([1, 1, 1], abs=1e-6)


def test_only_rows_that_may_be_found_are(index: RetrievalIndex, quick: RetrievalIndex) -> None:
    among = np.zeros(N, np.bool_)
    among[[5, 17, 4_000]] = True
    for searched in (index, quick):
        ids, scores = searched.neighbours(["track 17", "track 18"], 10, among=among)
        assert ids.shape == scores.shape == (2, 3), "all that there are, no more"
        assert ids[0, 0] == "track 17"
        assert set(ids[1]) == {"track 5", "track 17", "track 4000"}
    nothing = index.search(index.embeddings[:2], 5, among=np.zeros(N, np.bool_))
    assert nothing[0].shape == (2, 0)


def test_what_cannot_be_asked_is_refused(index: RetrievalIndex) -> None:
    with pytest.raises(UnknownTrackError, match="stranger"):
        index.neighbours(["track 1", "stranger"], 3)
    for query in (index.mean, np.full(512, np.nan, np.float32)):
        with pytest.raises(QueryError):
            index.search(query[None], 3)
    with pytest.raises(QueryError, match="at least one"):
        index.search(index.embeddings[:1], 0)
    empty = RetrievalIndex(np.array([], np.str_), np.empty((0, 512), np.float32), index.mean)
    with pytest.raises(UnknownTrackError):
        empty.neighbours(["track 1"], 3)


def test_the_approximate_index_finds_nearly_all_and_scores_them_exactly(
    index: RetrievalIndex, quick: RetrievalIndex, raw: np.ndarray
) -> None:
    queries = unit(raw[N:] - index.mean)
    assert quick.approximate is not None
    found = quick.approximate.nearest(index.embeddings, queries, 10)
    assert found is not None, "it was not asked"
    wanted = exact.nearest(index.embeddings, queries, 10)
    assert recall(found[0], wanted[0]) >= 0.98
    same = found[0] == wanted[0]
    assert np.array_equal(found[1][same], wanted[1][same])


@pytest.mark.parametrize("share", [0.6, 0.1, 0.001])
def test_filtered_search_finds_what_there_is_through_either_index(
    index: RetrievalIndex, quick: RetrievalIndex, raw: np.ndarray, share: float
) -> None:
    """Rows of one side of the space only, where most lists of a query may hold none of them."""
    side = index.embeddings @ unit(raw[N : N + 1] - index.mean)[0]
    among = side < np.quantile(side, share)
    ids, _ = quick.search(raw[N:], 5, among=among)
    wanted = index.track_ids[expected(index, raw[N:], 5, among)]
    assert ids.shape == wanted.shape
    assert recall(ids, wanted) >= 0.98


def test_a_filter_by_group_leaves_no_near_track_out() -> None:
    """Genres are groups of vectors: what a filter leaves is in lists that are not the query's."""
    rng = np.random.default_rng(3)
    group = rng.integers(0, 30, N)
    places = rng.standard_normal((30, 24))[group] + 0.7 * rng.standard_normal((N, 24))
    rows = unit(places @ rng.standard_normal((24, 128)))
    built = ApproximateIndex.build(rows, threads=1)
    assert built.lists.nprobe < built.lists.nlist / 4, "all lists are looked through anyway"
    ids = np.array([str(row) for row in range(N)])
    index, quick = (RetrievalIndex(ids, rows, np.zeros(128, np.float32), of) for of in (None, built))
    queries, among = rows[group >= 25][:100], group < 25
    # One at a time, as a single one that goes the exact way takes all others with it.
    found = np.concatenate([quick.search(query[None], 10, among=among)[0] for query in queries])
    assert recall(found, index.search(queries, 10, among=among)[0]) >= 0.98


def test_a_stored_track_finds_itself_first_through_the_approximate_index(quick: RetrievalIndex) -> None:
    asked = quick.track_ids[::60]
    ids, scores = quick.neighbours(asked, 5)
    assert np.array_equal(ids[:, 0], asked)
    assert scores[:, 0] == pytest.approx(np.ones(len(asked)), abs=1e-6)


def test_the_same_rows_give_the_same_approximate_index(quick: RetrievalIndex, tmp_path: Path) -> None:
    ApproximateIndex.build(quick.embeddings, threads=1).save(tmp_path / "again")
    quick.approximate.save(tmp_path / "first")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "first").read_bytes()
    opened = ApproximateIndex.load(tmp_path / "first", threads=1)
    queries = quick.embeddings[:50]
    found = opened.nearest(quick.embeddings, queries, 10)
    assert found is not None
    assert np.array_equal(found[0], quick.approximate.nearest(quick.embeddings, queries, 10)[0])


# --- the files of a version -------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "record")


def opened(record: Record) -> RetrievalIndex:
    stored = load_index(record)
    assert stored is not None
    return stored[0]


def test_vectors_are_mapped_in_the_order_of_the_ids_and_without_their_file_read_from_the_table(
    record: Record,
) -> None:
    rebuild(record, 40)
    mapped = opened(record)
    assert isinstance(mapped.embeddings, np.memmap)
    path = record.matrix_path(record.version_in_force())
    assert f"corpus/{path.parent.name}/vectors.npy" in fingerprint(record.root)
    path.unlink()
    read = opened(record)
    assert read.track_ids.tolist() == mapped.track_ids.tolist() == [f"t{i:04d}" for i in range(40)]
    assert np.array_equal(read.embeddings, mapped.embeddings)


def test_vectors_are_the_same_in_blocks_of_any_size(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """In manifest order, while batches hold them in another."""
    fill(record, 90)
    whole = record.read("clap_embeddings", BATCH)
    shuffled = whole.take(np.random.default_rng(0).permutation(90))
    for number in range(3):
        part = shuffled.slice(30 * number, 30)
        record.write("clap_embeddings", part, batch=f"batch-{number + 1:06d}")
    raw = np.array(whole["embedding"].to_pylist())
    expected = unit(raw - raw.mean(axis=0))
    for n_bytes, n_rows in ((1, 7), (2**23, 4_096)):
        monkeypatch.setattr("audio_assets.warehouse.record._BLOCK_BYTES", n_bytes)
        monkeypatch.setattr("audio_assets.corpus.centring._BLOCK_ROWS", n_rows)
        done = normalise_corpus(record, SETTINGS)
        index_corpus(record, SETTINGS, None)
        index, state = opened(record), sanity_record(expected)
        assert index.track_ids.tolist() == [f"t{i:04d}" for i in range(90)]
        assert index.embeddings == pytest.approx(expected, abs=1e-6)
        assert np.array_equal(vectors_of(record.read("retrieval_index")), index.embeddings)
        assert done.before.n_samples == done.after.n_samples == 90
        assert done.after.std_pairwise_cosine == pytest.approx(state.std_pairwise_cosine, abs=1e-6)


def test_a_track_without_direction_is_in_neither_file(record: Record) -> None:
    """One track alone equals the mean."""
    rebuild(record, 1)
    index = opened(record)
    assert index.embeddings.shape == (0, 512)
    assert len(index.track_ids) == 0


def test_a_large_version_has_an_approximate_index_that_goes_with_it(record: Record) -> None:
    rebuild(record, 40)
    assert opened(record).approximate is None
    for approximate_from, is_there in ((40, True), (41, False)):
        index_corpus(record, SETTINGS, None, approximate_from)
        version = record.version_in_force()
        assert (opened(record).approximate is not None) == is_there
        name = f"corpus/{version}/approximate.faiss"
        assert (name in fingerprint(record.root)) == is_there
        with record.snapshot() as still:
            assert still.approximate_path(version).exists() == is_there


def test_files_that_do_not_belong_together_are_refused(record: Record) -> None:
    rebuild(record, 5)
    other = Record(record.root.parent / "other")
    rebuild(other, 7)
    path = record.matrix_path(record.version_in_force())
    path.write_bytes(other.matrix_path(other.version_in_force()).read_bytes())
    with pytest.raises(RecordError, match="materialise"):
        load_index(record)
