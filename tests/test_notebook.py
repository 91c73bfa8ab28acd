"""A real notebook, run by a real kernel: where an event loop is running already."""

import nbformat
import pytest
from conftest import Bench, Simulate
from nbclient import NotebookClient

CELLS = (
    "import batchrunner",
    'result = batchrunner.run("in.jsonl", model="m/m")\nresult.summary.units.ok',
    """
async with batchrunner.Runner("in.jsonl", model="m/m", output="again.jsonl") as runner:
    rows = [outcome.row async for outcome in runner]
sorted(rows)
""",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::jupyter_client", "ignore:::zmq", "ignore:::nbclient", "ignore:::tornado")
def test_a_notebook_runs_a_job_and_goes_through_outcomes(
    bench: Bench, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.prompts(4)
    environment = bench.environment | {"BATCHRUNNER_BASE_URL": simulate().base_url, "IPYTHONDIR": str(bench.folder)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": bench.folder}})
    client.execute()
    shown = [cell.outputs[-1]["data"]["text/plain"] for cell in notebook.cells[1:]]
    assert shown == ["4", "[0, 1, 2, 3]"]
