"""The notebook of `examples/` runs over what a user has, and its own assertions hold."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from synthetic_collection import publish_collection

from audio_assets.warehouse import export_notebook_files

NOTEBOOK = Path(__file__).parents[1] / "examples" / "explore.ipynb"
CELL_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after its run over a published and exported collection."""
    data = tmp_path_factory.mktemp("notebook") / "data"
    warehouse = publish_collection(data, 40)
    export_notebook_files(warehouse.record, warehouse.path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_ASSETS_DATA", str(data))
        patch.setenv("IPYTHONDIR", str(data / "ipython"))
        NotebookClient(notebook, timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": data}}).execute()
    return notebook


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def test_files_and_database_agree_and_groups_are_seen(executed):
    text = printed(executed)
    assert "both doors agree" in text
    assert "genre: 100% of the nearest neighbours are of the same" in text


def test_it_draws(executed):
    pictures = [o for c in executed.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 2


def test_it_is_kept_without_results():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
