"""Workers that share a library: nothing is lost, computed twice or mixed, whatever happens to them.

With PostgreSQL, Redis, Dagster's daemon and Celery's workers, each a process of its own. Batches are of three
tracks; the features of a batch are one run, its embeddings another.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from database_servers import MISSING
from distributed_site import DistributedSite, distributed_site
from programs import needs

pytestmark = needs(MISSING)

FAILURE, STARTED, SUCCESS = (
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.SUCCESS,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, clap_checkpoint: Path) -> Iterator[DistributedSite]:
    with distributed_site(tmp_path_factory.mktemp("distributed"), clap_checkpoint) as site:
        yield site


def names(prefix: str, n_batches: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(3 * n_batches)]


def test_two_workers_and_then_four_share_a_backfill_and_each_loads_the_model_once(site: DistributedSite) -> None:
    first = [site.start_worker(name) for name in ("first", "second")]
    site.shut("load")
    paths = site.drop(*names("a", 4))
    assert set(site.held("load", 2)) == {worker.executor for worker in first}
    site.open("load")
    site.wait(lambda: site.analysed(paths), "the batches")
    runs = site.runs()
    assert len(runs) == 8
    assert site.executors(runs) == {worker.executor for worker in first}
    assert sorted(site.loads()) == sorted(worker.executor for worker in first)
    site.assert_whole()
    more = [site.start_worker(name, "clap") for name in ("third", "fourth")]
    site.shut("load")
    site.shut("batch")
    paths = site.drop(*names("b", 4))
    assert set(site.held("load", 2)) == {worker.executor for worker in more}
    assert set(site.held("batch", 2)) == {worker.executor for worker in first}
    site.open("load")
    site.open("batch")
    site.wait(lambda: site.analysed(paths), "the batches")
    assert sorted(site.loads()) == sorted(worker.executor for worker in first + more)
    assert {run.status for run in site.runs()} == {SUCCESS}
    site.assert_whole()
