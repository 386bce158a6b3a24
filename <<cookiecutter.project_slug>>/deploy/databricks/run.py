"""`python -m <package>` as a task of a job: the parameters are the project's folder and the words of a command.

The exit code of monitor becomes the task's value `exit_code`, by which the next task is chosen: an alarm is no failure.
"""

import os
import sys

folder, *words = sys.argv[1:]
os.chdir(folder)
sys.path.insert(0, folder)
os.environ.setdefault("MLFLOW_TRACKING_URI", "databricks")

from << cookiecutter.package_name >>.__main__ import main  # noqa: E402

code = main(words)
if words[0] == "monitor" and code in (0, 3):
    from databricks.sdk.runtime import dbutils  # there on Databricks alone

    dbutils.jobs.taskValues.set(key="exit_code", value=str(code))
elif code:
    raise SystemExit(code)
