from pathlib import Path

import nbformat
import pytest
from conftest import DATA
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from mlflow import MlflowClient
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "explore.ipynb"


@pytest.fixture
def shown(outputs, monkeypatch):
    """Runs the notebook in a folder, on the store of `outputs`; gives what stands below each code cell, by cell id."""
    monkeypatch.setenv("IPYTHONDIR", str(outputs / "ipython"))  # nobody's own settings and start-up files
    monkeypatch.delenv("MPLBACKEND", raising=False)

    def execute(folder: Path) -> dict[str, str]:
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        # without folders to look in, jupyter_client takes ipykernel under this very interpreter
        kernel = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        client = NotebookClient(notebook, km=kernel, timeout=300, resources={"metadata": {"path": str(folder)}})
        client.execute(cleanup_kc=True)
        return {cell.id: "\n".join(map(_text, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}

    return execute


def _text(output) -> str:
    """One output as text: what was printed, a table's HTML, or the kind of image."""
    if output.output_type == "stream":
        return f"{output.name}: {output.text}"
    return output.data.get("text/html") or "".join(kind for kind in output.data if kind.startswith("image/"))


def test_it_compares_the_runs_and_asks_the_champion(do, shown):
    own = "task.metrics=[<< cookiecutter.package_name >>.metrics.profit,balanced_accuracy]"
    quick = ("evaluation.importance_repeats=1", "evaluation.resamples=20", "evaluation.slices=[]")
    good = ["model=logistic", "gate.max_loss=1"]
    for words in (["model=forest", "model.n_estimators=10"], good, ["evaluate", "model=logistic", own]):
        code, printed = do(*words, f"data={DATA}", "features.derive.ratio=bill_length_mm / bill_depth_mm", *quick)
        assert code == 0, printed
    whole = MlflowClient().search_runs(["0"], "tags.gate = 'passed' AND tags.`mlflow.parentRunId` IS NULL")
    forest, logistic = sorted(run.info.run_name for run in whole)

    seen = shown(ROOT / "notebooks")
    assert "stderr" not in "".join(seen.values())
    assert "3 finished runs of << cookiecutter.project_slug >>" in seen["find"]
    for name in (forest, logistic):
        assert name in seen["runs"] and name in seen["scores"]
    assert seen["runs"].count("roc_auc") == 2 and "profit" in seen["runs"]  # of one that has no roc_auc
    assert seen["runs"].count("passed") == 2 and seen["runs"].count("champion") == 1
    assert [name for name, text in seen.items() if "image/png" in text] == ["tests", "fit", "figures"]
    assert f"{logistic}: << cookiecutter.project_slug >>-{DATA} version 2" in seen["champion"]
    assert "bill_depth_mm" in seen["importance"]
    assert "predicts sex" in seen["predict"] and "<th>predicted</th>" in seen["predict"]
    assert seen["predict"].count("<td>Adelie</td>") == 20
