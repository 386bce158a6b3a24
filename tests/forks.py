"""Runs command lines of generated projects in processes forked from one that has imported their libraries: five
seconds saved for each. Started by the projects' own Python. A line of stdin is a JSON list of the project's folder, a
module (or -c, and the first word is code), the folder of the command, the words, the environment and a file for what is
printed, answered on stdout by the id of the process that begins; or such an id, answered by the exit code at its end.
"""

import contextlib
import functools
import gc
import importlib
import json
import logging
import os
import runpy
import sys
from typing import Any, BinaryIO, NamedTuple

import sqlalchemy.orm

for name in (
    "great_expectations hydra matplotlib.figure mlflow mlflow.sklearn numpy pandas polars psutil skops.io "
    "sklearn.compose sklearn.dummy sklearn.ensemble sklearn.inspection sklearn.linear_model sklearn.pipeline "
    "mlflow.store.tracking.sqlalchemy_store mlflow.store.model_registry.sqlalchemy_store mlflow.store.db.utils "
    "mlflow.store.artifact.local_artifact_repo alembic.command hydra.compose antlr4 sklearn.metrics mlflow.pyfunc git "
    "matplotlib.backends.backend_agg matplotlib.backends.backend_svg narwhals.stable.v2 filelock dotenv "
    "hydra._internal.core_plugins.basic_sweeper hydra._internal.core_plugins.basic_launcher PIL.JpegImagePlugin "
    "pandas.io.formats.csvs sklearn.utils._pprint mlflow.cli narwhals._pandas_like.namespace pyarrow.pandas_compat "
    "mlflow.store.tracking.sqlalchemy_workspace_store mlflow.store.model_registry.sqlalchemy_workspace_store"
).split():
    importlib.import_module(name)
for name in ("IPython", "pytest", "_pytest.assertion.rewrite", "_pytest.fixtures"):  # not every environment has them
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
sqlalchemy.orm.configure_mappers()
importlib.import_module("mlflow.utils.requirements_utils")._init_packages_to_modules_map()  # as when a model is saved
gc.freeze()  # its pages stay shared, and no child looks for garbage among them


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def hurry(connection, _) -> None:
    """Lets SQLite leave it to the system when a write reaches the disk: these stores need not outlive a power cut."""
    if type(connection).__module__ == "sqlite3":
        connection.execute("PRAGMA synchronous=OFF")


def child(project: str, module: str, folder: str, words: list[str], known: dict[str, str], printed: str) -> int:
    """The exit code of the command, in the forked process."""
    os.environ.clear()
    os.environ.update(known)
    os.chdir(folder)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:0] = [project, *filter(None, known.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [module, *words]
    try:
        if module == "-c":
            exec(compile(words[0], module, "exec"), {"__name__": "__main__"})
        elif module in ("mlflow", "pytest"):
            if words[0] != "run":
                os.setsid()  # a server is ended with all that it starts
            logging.getLogger("mlflow").setLevel("INFO")  # as it would have come
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            main = importlib.import_module(f"{module}.__main__").main
            machinery = main.func.__module__.rpartition(".")[0]
            fork_second_process(importlib.import_module(f"{machinery}.second_process"))
            return main()
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def fork_second_process(module: Any) -> None:
    """Lets the process that checks and draws be one that is forked here and now: it need not import the libraries.

    It ends with its pipe, whether it was asked or not. Where another one is wanted, that is started as ever.
    """
    asked, answered = os.pipe(), os.pipe()
    if not os.fork():
        os.setsid()
        os.dup2(asked[0], 0)
        os.dup2(answered[1], 1)
        os.closerange(3, 256)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        module.answer_requests()
        os._exit(0)
    os.close(asked[0])
    os.close(answered[1])
    spare = [Answering(os.fdopen(asked[1], "wb"), os.fdopen(answered[0], "rb"))]
    start = module.companion.__wrapped__
    module.companion = functools.cache(lambda: spare.pop() if spare else start())


class Answering(NamedTuple):
    stdin: BinaryIO
    stdout: BinaryIO
    wait = staticmethod(lambda: 0)


for line in sys.stdin:
    request = json.loads(line)
    if isinstance(request, int):
        print(os.waitstatus_to_exitcode(os.waitpid(request, 0)[1]), flush=True)
        continue
    process = os.fork()
    if not process:
        code = 99
        try:
            code = child(*request)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(process, flush=True)
