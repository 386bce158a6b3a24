"""Runs command lines of generated projects in processes forked from one that has imported their libraries: five
seconds saved for each. Started by the projects' own Python. On each line of stdin a JSON list of the project's folder,
its package, the folder of the command, the words, the environment and a file for what is printed; on stdout a line with
the process's id at its start, and one with its exit code at its end."""

import importlib
import json
import os
import sys

import sqlalchemy.orm

for name in (
    "great_expectations hydra matplotlib.figure mlflow mlflow.sklearn numpy pandas polars psutil skops.io "
    "sklearn.compose sklearn.dummy sklearn.ensemble sklearn.inspection sklearn.linear_model sklearn.pipeline "
    "mlflow.store.tracking.sqlalchemy_store mlflow.store.model_registry.sqlalchemy_store mlflow.store.db.utils "
    "mlflow.store.artifact.local_artifact_repo alembic.command hydra.compose antlr4 sklearn.metrics"
).split():
    importlib.import_module(name)
sqlalchemy.orm.configure_mappers()


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def hurry(connection, _) -> None:
    """Lets SQLite leave it to the system when a write reaches the disk: these stores need not outlive a power cut."""
    if type(connection).__module__ == "sqlite3":
        connection.execute("PRAGMA synchronous=OFF")


def child(project: str, package: str, folder: str, words: list[str], known: dict[str, str], printed: str) -> int:
    """The exit code of the command, in the forked process."""
    os.environ.clear()
    os.environ.update(known)
    os.chdir(folder)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path.insert(0, project)
    sys.argv = [package, *words]
    main = importlib.import_module(f"{package}.__main__").main
    try:
        return main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


for line in sys.stdin:
    process = os.fork()
    if not process:
        code = 99
        try:
            code = child(*json.loads(line))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
