"""Run a notebook in a fresh kernel, and write it in a form that does not depend on when or where it ran."""

import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experiments.errors import ExperimentError

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
FOLDERS = {str(path) for path in (ROOT, Path.home(), sys.prefix, sys.base_prefix, tempfile.gettempdir())} - {"/"}
SECONDS = 300  # for one cell
COLOURS = 128  # of a picture


def find() -> list[Path]:
    """Return the tutorials in their order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


def read(path: Path) -> "NotebookNode":
    """Read a notebook file."""
    import nbformat

    return nbformat.read(path, as_version=4)


def write(path: Path, notebook: "NotebookNode") -> None:
    """Write a notebook file, in which the same notebook has the same bytes."""
    import nbformat

    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def execute(notebook: "NotebookNode", name: str) -> "NotebookNode":
    """Return a copy of the notebook with the outputs of a fresh kernel of this Python, on the CPU.

    Args:
      notebook: the notebook to run.
      name: what error messages call it.

    Raises:
      ExperimentError: if a cell fails, or prints to the standard error.
    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    # Without other folders of kernels, "python3" is the Python that runs this, whatever the user has installed.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if key not in ("MPLBACKEND", "XLA_FLAGS")}
        environment |= {"IPYTHONDIR": folder, "JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": "0"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        notebook = normalise(notebook, name)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        options = {"timeout": SECONDS, "record_timing": False, "coalesce_streams": True}
        client = NotebookClient(notebook, km=kernel, extra_arguments=["--log-level=ERROR"], **options)
        try:
            client.execute(cleanup_kc=True, env=environment, cwd=folder)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
            raise ExperimentError(f"{name}: {text}") from None
    return normalise(notebook, name)


def normalise(notebook: "NotebookNode", name: str) -> "NotebookNode":
    """Return a copy without what depends on the time, the machine or the versions of packages.

    Raises:
      ExperimentError: if an output goes to the standard error, or shows a path or an address in memory.
    """
    import nbformat

    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [_cell(cell, i, f"{name}, cell {i}") for i, cell in enumerate(notebook.cells, 1)]
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    plain = nbformat.from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    return cast("NotebookNode", plain)


def _cell(cell: "NotebookNode", number: int, place: str) -> dict[str, Any]:
    tags = cell.metadata.get("tags", [])
    kept = {
        "cell_type": cell.cell_type,
        "id": f"cell-{number:02d}",
        "metadata": {"tags": tags} if tags else {},
        "source": cell.source.strip("\n"),
    }
    if cell.cell_type != "code":
        return kept
    outputs = [_output(output, place) for output in cell.outputs]
    return kept | {"execution_count": cell.execution_count, "outputs": outputs}


def _output(output: "NotebookNode", place: str) -> dict[str, Any]:
    if output.get("name") == "stderr":
        raise ExperimentError(f"{place}: nothing may go to the standard error, got {output.text.strip()[:300]!r}")
    kept: dict[str, Any] = {key: value for key, value in output.items() if key != "transient"}
    if "data" in kept:
        data = dict(kept["data"])
        if "image/png" in data:
            data["image/png"] = _plain_png(data["image/png"])
        kept |= {"data": data, "metadata": {}}
    if output["output_type"] == "error":  # of a cell with the tag `raises-exception`
        kept["traceback"] = [f"{output['ename']}: {output['evalue']}"]
    for kind, text in texts(kept):
        for shown in (*re.findall(r"\b0x[0-9a-f]{8,}", text), *filter(text.__contains__, FOLDERS)):
            raise ExperimentError(f"{place}: {kind} may show no path and no address in memory, got {shown!r}")
    return kept


def texts(output: Any) -> list[tuple[str, str]]:
    """Return the texts of an output, each with its kind: a stream's name or a media type."""
    if output["output_type"] == "stream":
        return [(output["name"], output["text"])]
    if output["output_type"] == "error":
        return [("error", f"{output['ename']}: {output['evalue']}")]
    return [(kind, text) for kind, text in sorted(output["data"].items()) if kind.startswith("text/")]


def _plain_png(text: str) -> str:
    """Return a picture, in base64, with at most 128 colours and nothing besides its pixels: a third of the size."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        if image.mode == "P":
            return text.strip()  # it has been here before
        colours = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    colours.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
