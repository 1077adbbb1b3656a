"""Who searches: each is built into files of its own, opened from them, and asked with unit vectors.

A width is what a search trades recall for speed by: lists or candidates that are looked through. Those that
have one are measured at several.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from audio_assets.retrieval import ApproximateIndex, RetrievalIndex

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_CONSTRUCTION = 100
_LINKS = 16


class Contender(ABC):
    """One way to search the rows of a matrix."""

    name: ClassVar[str]
    widths: ClassVar[tuple[int, ...]] = ()
    #: Of the products of a matrix, as none may be missed.
    is_exact: ClassVar[bool] = False
    #: Rows beyond which the build would take over a quarter of an hour.
    most_rows: ClassVar[int | None] = None

    @abstractmethod
    def build(self, matrix: Vectors, folder: Path) -> None:
        """Write what `open` needs into a folder."""

    @abstractmethod
    def open(self, matrix_path: Path, n: int, folder: Path) -> None:
        """Get ready to be asked; `matrix_path` has n rows and then some."""

    @abstractmethod
    def search(self, queries: Vectors, k: int) -> Rows:
        """Nearest rows, shape (q, k)."""

    def widen(self, width: int) -> None:  # noqa: B027 - those without widths have nothing to do
        """Search more widely or less."""


class OursExact(Contender):
    """Over the vectors as they are, mapped from their file."""

    name, is_exact = "audio-assets, exact", True

    def build(self, matrix: Vectors, folder: Path) -> None:
        pass

    def open(self, matrix_path: Path, n: int, folder: Path) -> None:
        matrix = np.load(matrix_path, mmap_mode="r", allow_pickle=False)[:n]
        ids = np.array([str(row) for row in range(n)])
        no_mean = np.zeros(matrix.shape[1], np.float32)
        self.index = RetrievalIndex(ids, matrix, no_mean, self.approximate(folder))

    def approximate(self, folder: Path) -> ApproximateIndex | None:
        return None

    def search(self, queries: Vectors, k: int) -> Rows:
        return self.index.search(queries, k)[0].astype(np.int64)


class OursApproximate(OursExact):
    name, is_exact = "audio-assets, approximate", False
    widths = (8, 16, 32, 64, 128, 256)

    def build(self, matrix: Vectors, folder: Path) -> None:
        ApproximateIndex.build(matrix, 2).save(folder / "approximate.faiss")

    def approximate(self, folder: Path) -> ApproximateIndex | None:
        return ApproximateIndex.load(folder / "approximate.faiss", 1)

    def widen(self, width: int) -> None:
        self.index.approximate.lists.nprobe = width


class BareBlas(Contender):
    """Over the vectors in memory."""

    name, is_exact = "numpy: product and argpartition", True

    def build(self, matrix: Vectors, folder: Path) -> None:
        pass

    def open(self, matrix_path: Path, n: int, folder: Path) -> None:
        self.matrix = np.array(np.load(matrix_path, mmap_mode="r", allow_pickle=False)[:n])

    def search(self, queries: Vectors, k: int) -> Rows:
        if len(queries) > 1:
            return self._search_block(queries, k)
        scores = self.matrix @ queries[0]
        nearest = np.argpartition(scores, -k)[-k:]
        return nearest[np.argsort(-scores[nearest])][None]

    def _search_block(self, queries: Vectors, k: int) -> Rows:
        scores = queries @ self.matrix.T
        nearest = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, nearest, axis=1), axis=1)
        return np.take_along_axis(nearest, order, axis=1)


class DuckDB(Contender):
    name, is_exact = "DuckDB array_inner_product", True

    def build(self, matrix: Vectors, folder: Path) -> None:
        import duckdb
        import pyarrow as pa

        with duckdb.connect(str(folder / "vectors.duckdb")) as connection:
            connection.execute("CREATE TABLE vectors (row BIGINT, embedding FLOAT[512])")
            for start in range(0, len(matrix), 16_384):
                block = np.ascontiguousarray(matrix[start : start + 16_384])
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), block.shape[1])
                rows = pa.table({"row": np.arange(start, start + len(block)), "embedding": vectors})
                connection.register("rows", rows).execute("INSERT INTO vectors FROM rows")

    def open(self, matrix_path: Path, n: int, folder: Path) -> None:
        import duckdb

        self.connection = duckdb.connect(str(folder / "vectors.duckdb"), read_only=True)
        self.connection.execute("SET threads = 1")

    def search(self, queries: Vectors, k: int) -> Rows:
        sql = "SELECT row FROM vectors ORDER BY array_inner_product(embedding, ?::FLOAT[512]) DESC LIMIT ?"
        found = (self.connection.execute(sql, [query, k]).fetchall() for query in queries)
        return np.array([[row for (row,) in rows] for rows in found])


class Faiss(Contender):
    file = "index.faiss"

    @abstractmethod
    def make(self, matrix: Vectors) -> Any:
        """Give an index that is trained and empty."""

    def build(self, matrix: Vectors, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(2)
        index = self.make(matrix)
        for start in range(0, len(matrix), 16_384):
            index.add(matrix[start : start + 16_384])
        faiss.write_index(index, str(folder / self.file))

    def open(self, matrix_path: Path, n: int, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(str(folder / self.file))

    def search(self, queries: Vectors, k: int) -> Rows:
        return self.index.search(queries, k)[1]


class FaissFlat(Faiss):
    name, is_exact = "faiss Flat", True

    def make(self, matrix: Vectors) -> Any:
        import faiss

        return faiss.IndexFlatIP(matrix.shape[1])


class FaissIvf(Faiss):
    """The lists of ours, without scoring again."""

    name = "faiss IVF, SQ8"
    widths = (8, 16, 32, 64, 128, 256)

    def make(self, matrix: Vectors) -> Any:
        raise NotImplementedError("its lists are those of ours")

    def build(self, matrix: Vectors, folder: Path) -> None:
        ApproximateIndex.build(matrix, 2).save(folder / self.file)

    def widen(self, width: int) -> None:
        self.index.nprobe = width


class FaissHnsw(Faiss):
    name = "faiss HNSW"
    widths = (32, 64, 128, 256, 512)

    def make(self, matrix: Vectors) -> Any:
        import faiss

        index = faiss.IndexHNSWFlat(matrix.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _CONSTRUCTION
        return index

    def widen(self, width: int) -> None:
        self.index.hnsw.efSearch = width


class Usearch(Contender):
    name = "usearch"
    widths = (32, 64, 128, 256, 512)

    def build(self, matrix: Vectors, folder: Path) -> None:
        index = self._new(matrix.shape[1])
        for start in range(0, len(matrix), 16_384):
            block = np.ascontiguousarray(matrix[start : start + 16_384])
            index.add(np.arange(start, start + len(block)), block, threads=2)
        index.save(str(folder / "index.usearch"))

    def open(self, matrix_path: Path, n: int, folder: Path) -> None:
        self.index = self._new(512)
        self.index.load(str(folder / "index.usearch"))

    def search(self, queries: Vectors, k: int) -> Rows:
        return np.atleast_2d(self.index.search(queries, k, threads=1).keys).astype(np.int64)

    def widen(self, width: int) -> None:
        self.index.expansion_search = width

    def _new(self, n_dims: int) -> Any:
        from usearch.index import Index

        return Index(ndim=n_dims, metric="ip", dtype="f32", connectivity=_LINKS, expansion_add=_CONSTRUCTION)


class Hnswlib(Contender):
    name = "hnswlib"
    widths = (32, 64, 128, 256, 512)

    def build(self, matrix: Vectors, folder: Path) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=matrix.shape[1])
        index.init_index(len(matrix), ef_construction=_CONSTRUCTION, M=_LINKS, random_seed=0)
        for start in range(0, len(matrix), 16_384):
            block = matrix[start : start + 16_384]
            index.add_items(block, np.arange(start, start + len(block)), num_threads=2)
        index.save_index(str(folder / "index.hnswlib"))

    def open(self, matrix_path: Path, n: int, folder: Path) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=512)
        self.index.load_index(str(folder / "index.hnswlib"))

    def search(self, queries: Vectors, k: int) -> Rows:
        return self.index.knn_query(queries, k, num_threads=1)[0].astype(np.int64)

    def widen(self, width: int) -> None:
        self.index.set_ef(width)


CONTENDERS: tuple[type[Contender], ...] = (
    OursExact,
    OursApproximate,
    BareBlas,
    DuckDB,
    FaissFlat,
    FaissIvf,
    FaissHnsw,
    Usearch,
    Hnswlib,
)
