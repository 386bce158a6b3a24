"""Finishes the project: drops what the answers made unnecessary, notes where it came from, locks, commits.

Nothing here may fail the generation: what could not be done becomes one line that says what to do.
COOKIECUTTER_MLPROJECT_LOCK=no leaves out uv.lock, which takes some seconds and the network.
Standard library only, Python 3.9 and later.
"""

import json
import os
import re
import shutil
import subprocess
import sys

ANSWERS = json.loads(r"""<< cookiecutter | tojson >>""")
UNDER_CRUFT = "_output_dir" not in ANSWERS  # cookiecutter itself always says where
BEGAN = ".cookiecutter.began"  # what the pre hook leaves where a project is generated over files that are there
LOCK_SECONDS = 120
JOBS = f"{ANSWERS['package_name']}/machinery/jobs"
PLATFORMS = {  # what each of these answers brings along, and "all" as well
    "server": ("deploy/server", "deploy/server.mk"),
    "kubernetes": ("deploy/kubernetes", "deploy/kubernetes.mk"),
    "slurm": ("deploy/slurm.sbatch",),
    "airflow": ("deploy/airflow",),
    "databricks": ("deploy/databricks",),
}
UNNECESSARY = {
    ".github": ANSWERS["ci"] == "none",
    "deploy": ANSWERS["deploy"] == "none",
    **{path: ANSWERS["deploy"] not in (name, "all") for name, paths in PLATFORMS.items() for path in paths},
    **dict.fromkeys(
        ("conf/deploy", "conf/job/deploy.yaml", f"{JOBS}/deploy", "deploy/deploy.mk", ".github/workflows/deploy.yml"),
        ANSWERS["deploy"] != "all",
    ),
}


def run(*command, **options):
    """The finished process, its output captured as text; one that cannot start has failed, with the reason."""
    options = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "stdin": subprocess.DEVNULL, **options}
    try:
        return subprocess.run(command, **options)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} took longer than {LOCK_SECONDS} seconds")
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


def reason(process):
    """First and last line of what a process complained about, without their labels, in one line."""
    lines = [line.strip().rstrip(".") for line in process.stderr.splitlines() if line.strip()] or ["no reason given"]
    said = [re.sub(r"^(error|fatal|cause|hint): ", "", line).split(". ")[0] for line in (lines[0], lines[-1])]
    return "; ".join(dict.fromkeys(said))


def git(*arguments, folder="."):
    """A git command in a folder, whatever repository the caller of cookiecutter works in (it may be a git hook)."""
    local = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
    env = {name: value for name, value in os.environ.items() if name not in local}
    return run("git", "-C", folder, *arguments, env=env)


def kept(path):
    """Whether a file was there before this generation and was left alone, as --skip-if-file-exists says."""
    return all(map(os.path.exists, (BEGAN, path))) and os.path.getmtime(path) < os.path.getmtime(BEGAN)


def drop(part):
    """Removes a file, or the files of a folder and the folder where nothing else is in it: what was kept stays."""
    if os.path.isfile(part) and not kept(part):
        os.remove(part)
    for place, _, names in os.walk(part, topdown=False):
        for path in (os.path.join(place, name) for name in names):
            if not kept(path):
                os.remove(path)
        if not os.listdir(place):
            os.rmdir(place)


def origin():
    """The template's address and commit: what a later update starts from."""
    if UNDER_CRUFT:
        return ANSWERS["_template"], ANSWERS.get("_commit")
    typed, folder = ANSWERS["_template"], ANSWERS["_repo_dir"]
    # cookiecutter is in the template's folder while hooks run; elsewhere than on Linux a relative path is the shell's.
    for place in (f"/proc/{os.getppid()}/cwd", os.path.join(os.environ.get("PWD", ""), os.path.expanduser(folder))):
        if os.path.isfile(os.path.join(place, "cookiecutter.json")):
            here = os.path.realpath(place)
            break
    else:
        return typed, None
    head = git("rev-parse", "HEAD", "HEAD:./cookiecutter.json", folder=here)
    commit = None if head.returncode else head.stdout.split()[0]
    if typed == folder:
        return here, commit
    return git("config", "remote.origin.url", folder=here).stdout.strip() or typed, commit


def remember():
    """Address, checkout and commit of the template into .cookiecutter.json, without a password in the address."""
    with open(".cookiecutter.json", encoding="utf-8") as file:
        kept = json.load(file)
    address, commit = origin()
    kept["_template"] = re.sub(r"^(https?://)[^/]*@", r"\1", address)
    kept["_commit"] = commit
    with open(".cookiecutter.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def lock():
    """Makes uv.lock with requirements.txt's versions; gives the reason where that was not possible.

    First with these pins as constraints, then without: uv keeps the versions a lock has. Done in a folder beside, so
    that the project is never seen half changed; .python-version stays behind, as every Python that the project allows
    gives the same lock.
    """
    if not shutil.which("uv"):
        return "uv is not installed"
    import tempfile  # here, as it takes a while and is not always needed

    with open("requirements.txt", encoding="utf-8") as file:
        pins = [line.rstrip(" \\\n") for line in file if line[0].isalnum()]
    with open("pyproject.toml", encoding="utf-8") as file:
        project = file.read()
    pinned = project.replace("[tool.uv]\n", f"[tool.uv]\nconstraint-dependencies = {json.dumps(pins)}\n", 1)
    with tempfile.TemporaryDirectory() as folder:
        for text in (pinned, project):
            with open(os.path.join(folder, "pyproject.toml"), "w", encoding="utf-8") as file:
                file.write(text)
            command = ("uv", "lock", "--quiet", "--no-python-downloads", "--project", folder)
            locked = run(*command, cwd=folder, timeout=LOCK_SECONDS)
            if locked.returncode:
                return reason(locked)
        shutil.copyfile(os.path.join(folder, "uv.lock"), "uv.lock")
    return None


def commit():
    """Makes a repository with a first commit; gives the reason where that was not possible."""
    around = git("rev-parse", "--show-toplevel")
    if around.returncode == 0:
        return f"the folder lies in the repository {around.stdout.strip()}"
    # The user's signing keys and hooks may ask, fail or take long, and nothing needs tidying: not for this commit.
    quietly = ("-c", "commit.gpgsign=false", "-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0")
    message = ("commit", "--quiet", "--message", "Generate the project from its template")
    nobody = ("-c", "user.name=cookiecutter", "-c", "user.email=cookiecutter@localhost")
    for step in (("-c", "init.defaultBranch=main", "init", "--quiet"), ("add", "--all")):
        done = git(*step)
        if done.returncode:
            return reason(done)
    done = git(*quietly, *message)
    if done.returncode:  # most likely git knows no name to commit under
        done = git(*quietly, *nobody, *message)
    return reason(done) if done.returncode else None


for path, unnecessary in UNNECESSARY.items():
    if unnecessary:
        drop(path)
if not kept(".cookiecutter.json"):
    remember()
# cruft compares folders, where a repository or a lock would be a difference.
locking = not UNDER_CRUFT and os.environ.get("COOKIECUTTER_MLPROJECT_LOCK") != "no"
# A kept requirements.txt has its uv.lock, which may hold more than the template knows.
if locking and not (kept("requirements.txt") and os.path.exists("uv.lock")) and (missing := lock()):
    print(f"No uv.lock yet ({missing}): once that is mended, `make lock` makes it from the same versions.")
if os.path.exists(BEGAN):
    os.remove(BEGAN)
if UNDER_CRUFT:
    left = "uv.lock and the first commit are left to you: `make lock`, `git init`, `git add .` and `git commit`."
    print(left, file=sys.stderr)  # `cruft diff` prints its diff
    sys.exit()
if missing := commit():
    print(f"Nothing is committed ({missing}): `git add .` and `git commit` are left to you.")
place = os.path.relpath(os.getcwd(), os.environ.get("PWD") or "..")
if place.startswith(".."):
    place = ANSWERS["project_slug"]
print("cd", place if " " not in place else f"'{place}'")
print("uv run mlflow run . --env-manager local")
print("uv run mlflow ui")
