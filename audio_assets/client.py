"""The published tables in Python: for notebooks, and for the commands that read them.

What belongs here: opening a published generation, giving tables as pandas or Arrow, and finding tracks in it.
What does not: how a text or a file becomes a query (``search``), how neighbours are found (``retrieval``).
Nothing here writes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from audio_assets.retrieval import QueryError, UnknownTrackError
from audio_assets.search import IndexedTracks, SearchRefusedError, embed_file, embed_text, load_indexed_tracks
from audio_assets.warehouse import LINK_NAME, Record, connect_published

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

    from resources.clap_model import ClapModel

Frame = TypeVar("Frame")
Parameters = Sequence[Any] | Mapping[str, Any]

_HITS = """
    SELECT hits.rank, tracks.song_id, hits.score, track_name, tempo_bpm, tracks.key, audio_path
    FROM (
        SELECT unnest($ids::VARCHAR[]) AS song_id, unnest($scores::FLOAT[]) AS score,
               unnest(range(1, len($ids::VARCHAR[]) + 1)) AS rank
    ) AS hits
    JOIN tracks USING (song_id)
    ORDER BY hits.rank
"""
_CALLED = """
    SELECT song_id
    FROM tracks
    WHERE $name IN (song_id, audio_path, file_path)
       OR (ends_with($path, '/' || file_path) AND size_bytes = $size_bytes)
    ORDER BY song_id = $name DESC, len(file_path) DESC, song_id
    LIMIT 1
"""


class NotPublishedError(Exception):
    """There is no generation to read, or one that lacks what is read here; the message says what to do."""


@overload
def open_warehouse(
    path: str | Path, *, as_arrow: Literal[False] = False
) -> "PublishedWarehouse[pd.DataFrame]": ...
@overload
def open_warehouse(path: str | Path, *, as_arrow: Literal[True]) -> "PublishedWarehouse[pa.Table]": ...
def open_warehouse(path: str | Path, *, as_arrow: bool = False) -> "PublishedWarehouse[Any]":
    """Open the tables that a run has published, to read them.

    The generation that is published now stays open, whole and unchanged, whatever runs publish meanwhile.

    Parameters
    ----------
    path : str or Path
        Data folder, or a ``warehouse.duckdb`` file of one, or a copy of it.
    as_arrow : bool
        Give every table as `pyarrow.Table` rather than `pandas.DataFrame`.

    Returns
    -------
    PublishedWarehouse
        To be closed, or used in a ``with`` statement.

    Raises
    ------
    NotPublishedError
        Nothing is published there, it is damaged, or of a version of audio-assets without a view ``tracks``.

    Examples
    --------
    >>> with open_warehouse("data") as warehouse:  # doctest: +SKIP
    ...     warehouse.similar("agua-clara-26930c57", k=5, where="tempo_bpm < 120")
    """
    import duckdb

    given = Path(path).expanduser().resolve()
    published = (given / LINK_NAME if given.is_dir() else given).resolve()
    if not published.is_file():
        raise NotPublishedError(f"nothing is published in {given}; 'audio-assets run' publishes")
    try:
        connection = connect_published(published)
    except duckdb.Error as error:
        raise NotPublishedError(f"{published} cannot be read: {error}") from error
    if not connection.execute("SELECT 1 FROM duckdb_views() WHERE view_name = 'tracks'").fetchall():
        connection.close()
        raise NotPublishedError(
            f"{published.name} was published by a version that had no view tracks; 'audio-assets run' "
            "publishes anew, and 'audio-assets sql' reads this one"
        )
    return PublishedWarehouse(published, connection, _as_arrow if as_arrow else _as_pandas)


class PublishedWarehouse(Generic[Frame]):
    """A published generation, opened by `open_warehouse`.

    Methods that give a table give a `pandas.DataFrame`, or a `pyarrow.Table` where it was opened so. Nothing
    can be written through it, and no other file be read; for that there is
    ``duckdb.connect(path, read_only=True)``.

    Parameters
    ----------
    path : Path
        File of the generation.
    connection : duckdb.DuckDBPyConnection
        As of `audio_assets.warehouse.connect_published`.
    as_frame : callable
        Makes a table of what DuckDB found.
    """

    def __init__(
        self,
        path: Path,
        connection: "duckdb.DuckDBPyConnection",
        as_frame: "Callable[[duckdb.DuckDBPyRelation], Frame]",
    ) -> None:
        self.path = path
        self._connection = connection
        self._as_frame = as_frame

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def sql(self, query: str, parameters: Parameters | None = None) -> Frame:
        """Ask a query of your own.

        Parameters
        ----------
        query : str
            SQL of DuckDB over the tables and macros that ``audio-assets sql --help`` lists.
        parameters : sequence or mapping, optional
            Values for ``?``, or for ``$name``.

        Returns
        -------
        DataFrame or Table
            What it found.

        Raises
        ------
        duckdb.Error
            The query is wrong, or does more than read.
        """
        return self._as_frame(self._connection.sql(query, params=parameters))

    def tracks(self, where: str | None = None) -> Frame:
        """Every track that is there: names, key, all features and all columns of the manifest.

        Parameters
        ----------
        where : str, optional
            SQL condition on the columns of ``tracks``, such as ``"tempo_bpm > 120 AND genre = 'folk'"``.

        Returns
        -------
        DataFrame or Table
            By ``song_id``; NULL where a track has no feature.

        Raises
        ------
        SearchRefusedError
            The condition cannot be used.
        """
        return self._as_frame(self._chosen(where).order("song_id"))

    def features(self) -> Frame:
        """``song_id`` and the 56 features of every track that could be analysed.

        Returns
        -------
        DataFrame or Table
            By ``song_id``; docs/features.md says what each column is.
        """
        return self.sql("FROM audio_features ORDER BY song_id")

    def embeddings(self, *, normalized: bool = False) -> Frame:
        """CLAP embedding of every track that has one.

        Parameters
        ----------
        normalized : bool
            Minus the mean of all, at unit length; else as the model gave them.

        Returns
        -------
        DataFrame or Table
            ``song_id`` and ``embedding``, float32 of length 512, by ``song_id``. In pandas,
            ``np.stack(frame["embedding"])`` is the matrix.
        """
        table = "clap_embeddings_normalized" if normalized else "clap_embeddings"
        return self.sql(f"SELECT song_id, embedding FROM {table} ORDER BY song_id")  # noqa: S608

    def similar(self, song_id: str, k: int = 10, *, where: str | None = None) -> Frame:
        """Tracks that sound most like one of them.

        Parameters
        ----------
        song_id : str
            Id of the track, or its path in the library.
        k : int
            Tracks wanted.
        where : str, optional
            SQL condition on the columns of ``tracks``; there are k results if k tracks pass it.

        Returns
        -------
        DataFrame or Table
            ``rank``, ``song_id``, ``score``, ``track_name``, ``tempo_bpm``, ``key`` and ``audio_path``, best
            first. The score is the cosine once the mean of all tracks is taken away: 1 for the track itself,
            which comes first if it passes `where`, and 0 for one as alike as two tracks usually are.

        Raises
        ------
        SearchRefusedError
            There is no such track, it has no embedding, nothing is indexed, or the condition cannot be used.
        """
        known = self._song_id(song_id)
        among = self._rows(where)
        try:
            ids, scores = self._indexed.index.neighbours([known], k, among=among)
        except UnknownTrackError:
            raise SearchRefusedError(
                f"{known} has no embedding to compare; track_failures says why"
            ) from None
        return self._hits(ids[0], scores[0])

    def nearest(self, vector: npt.ArrayLike, k: int = 10, *, where: str | None = None) -> Frame:
        """Tracks nearest to an audio embedding of your own.

        Parameters
        ----------
        vector : array_like, shape (512,)
            As the index's model gives it; it is centred and normalised here.
        k, where
            As for `similar`.

        Returns
        -------
        DataFrame or Table
            As of `similar`.

        Raises
        ------
        SearchRefusedError
            Nothing is indexed, or the condition cannot be used.
        QueryError
            The vector is of another length, zero, not finite, or the mean itself, and so points nowhere.
        """
        query = np.asarray(vector, np.float32)
        if query.shape != self._indexed.index.mean.shape or not query.any():
            raise QueryError("a query is not of the index's length, or is zero")
        return self._search(query, k, self._rows(where), None)

    def search_text(
        self, text: str, k: int = 10, *, where: str | None = None, model: "str | ClapModel | None" = None
    ) -> Frame:
        """Tracks nearest to a text.

        Parameters
        ----------
        text : str
            What to look for, in English.
        k, where
            As for `similar`.
        model : str or ClapModel, optional
            Hub id or folder of the model that the index was made with; needed only where that has moved.

        Returns
        -------
        DataFrame or Table
            As of `similar`. Scores rank the tracks for this text; they do not say how well one fits it.

        Raises
        ------
        SearchRefusedError
            The text is blank, nothing is indexed, the model is another than the index's or looked untrained
            when the index was made, or the condition cannot be used.
        ModelError
            The model is not on this machine, or looks untrained.
        """
        among = self._rows(where)  # a wrong condition is refused before a model is loaded
        query = embed_text(self._indexed, self._model_object(model), text)
        return self._search(query, k, among, self._indexed.text_mean)

    def search_audio(
        self,
        file: str | Path,
        k: int = 10,
        *,
        where: str | None = None,
        model: "str | ClapModel | None" = None,
    ) -> Frame:
        """Tracks that sound most like an audio file, which need not be in the library.

        Parameters
        ----------
        file : str or Path
            The file, decoded in a worker process by the rules of a run.
        k, where, model
            As for `search_text`.

        Returns
        -------
        DataFrame or Table
            As of `similar`.

        Raises
        ------
        SearchRefusedError
            The file cannot be analysed, nothing is indexed, the model or its windows are other than the
            index's, or the condition cannot be used.
        ModelError
            The model is not on this machine.
        """
        among = self._rows(where)
        query = embed_file(self._indexed, self._model_object(model), Path(file))
        return self._search(query, k, among, None)

    def model(self, name: str | None = None) -> "ClapModel":
        """Name the model that a text or a file is embedded with; nothing is loaded.

        Parameters
        ----------
        name : str, optional
            Hub id or folder; the index's own where left out.

        Returns
        -------
        ClapModel
            Set otherwise as the environment says; it never downloads.

        Raises
        ------
        SearchRefusedError
            Nothing is indexed, so that no model can be told.
        ModelSettingError
            A variable of the environment is set to something it cannot be.
        """
        from resources.clap_model import clap_model_from_environment

        if name is not None:
            return clap_model_from_environment(model_id=name, offline=True)
        return clap_model_from_environment(**self._indexed.model_name(), offline=True)

    @cached_property
    def _indexed(self) -> IndexedTracks:
        return load_indexed_tracks(self._connection, Record(self.path.parent / "record"))

    def _model_object(self, model: "str | ClapModel | None") -> "ClapModel":
        return self.model(model) if model is None or isinstance(model, str) else model

    def _search(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        among: npt.NDArray[np.bool_] | None,
        mean: npt.NDArray[np.float32] | None,
    ) -> Frame:
        ids, scores = self._indexed.index.search(query[None], k, mean=mean, among=among)
        return self._hits(ids[0], scores[0])

    def _hits(self, ids: npt.NDArray[np.str_], scores: npt.NDArray[np.float32]) -> Frame:
        return self.sql(_HITS, {"ids": ids.tolist(), "scores": scores.tolist()})

    def _song_id(self, name: str) -> str:
        """Tell the track that an id or a path is of."""
        path = Path(name).expanduser().absolute()
        # Where the library is nobody knows here: a file of another folder may end in the same path.
        size_bytes = path.stat().st_size if path.is_file() else None
        values = {"name": name, "path": str(path), "size_bytes": size_bytes}
        found = self._connection.execute(_CALLED, values).fetchall()
        if not found:
            raise SearchRefusedError(
                f"no track has {name!r} as its song_id or path; both are listed in the view tracks"
            )
        return str(found[0][0])

    def _rows(self, where: str | None) -> npt.NDArray[np.bool_] | None:
        """Say which rows of the index may be found; None for all."""
        import duckdb

        indexed = self._indexed
        if where is None and indexed.is_whole:
            return None
        allowed = self._connection.table("retrieval_index").select("song_id")
        try:
            found = allowed.join(self._chosen(where).select("song_id"), "song_id", how="semi").fetchnumpy()
        except duckdb.Error as error:  # some mistakes show only on a row
            raise _unusable(error) from error
        among = np.zeros(len(indexed.index.track_ids), np.bool_)
        among[indexed.index.rows_of(found["song_id"].tolist())] = True
        return among

    def _chosen(self, where: str | None) -> "duckdb.DuckDBPyRelation":
        """Filter the view by a relation's filter, which takes one expression and no statement."""
        import duckdb

        tracks = self._connection.view("tracks")
        try:
            return tracks if where is None else tracks.filter(where)
        except duckdb.Error as error:
            raise _unusable(error) from error


def _unusable(error: Exception) -> SearchRefusedError:
    reason = str(error).partition("\n\n")[0].replace("\n", " ")
    return SearchRefusedError(f"the condition cannot be used: {reason}")


def _as_pandas(found: "duckdb.DuckDBPyRelation") -> "pd.DataFrame":
    frame: pd.DataFrame = found.df()
    return frame


def _as_arrow(found: "duckdb.DuckDBPyRelation") -> "pa.Table":
    return found.to_arrow_table()
