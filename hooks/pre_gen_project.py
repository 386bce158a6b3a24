"""Refuses answers that would make a broken project: one sentence for each, with the answer and the way out in it.

cookiecutter runs this in the new, still empty folder, and removes that folder where the exit status is not 0.
Standard library only, Python 3.9 and later.
"""

import json
import keyword
import os
import re
import sys
import time
import unicodedata

ANSWERS = json.loads(r"""<< cookiecutter | tojson >>""")
BEGAN = ".cookiecutter.began"  # tells the post hook which files were there before
TESTED = ("3.11", "3.12", "3.13")
SLUG = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,58}[A-Za-z0-9])?")
PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")

# Jinja's delimiters, the usual ones and this template's, and the start of Hydra's and GitHub's interpolations.
TEMPLATE = re.compile(r"<[%#<]|[%#>]>|{[{%#]|[}%#]}|\${")
# What YAML, TOML or JSON cannot carry between double quotes: controls, line ends, surrogates (bytes that are no UTF-8).
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")

FOLDERS = "conf data notebooks outputs test tests mlruns mlartifacts"
# What the lock and the extras install: modules, and distributions with `_` for `-`. A test holds it against the lock.
INSTALLED = """
    _cffi_backend _polars_runtime_32 _pytest _yaml aiohappyeyeballs aiohttp aiosignal alembic altair annotated_doc
    annotated_types antlr4 antlr4_python3_runtime anyio appnope ast_serialize asttokens attr attrs blinker cachetools
    certifi cffi cfgv charset_normalizer click cloudpickle colorama colorlog comm contourpy cryptography cycler
    databricks databricks_sdk dateutil debugpy distlib docker dotenv executing fastapi fastexcel fastjsonschema filelock
    flask flask_cors fonttools frozenlist git gitdb gitpython google google_auth graphene graphql graphql_core
    graphql_relay great_expectations gunicorn h11 huey hydra hydra_core identify idna importlib_metadata iniconfig
    ipykernel ipykernel_launcher ipython ipython_pygments_lexers itsdangerous jedi jinja2 joblib jsonschema
    jsonschema_specifications jupyter jupyter_client jupyter_core kiwisolver librt lightgbm mako markupsafe marshmallow
    matplotlib matplotlib_inline mistune mlflow mlflow_skinny mlflow_tracing mpl_toolkits multidict mypy mypy_extensions
    mypyc narwhals nbclient nbformat nest_asyncio2 nodeenv numpy omegaconf opentelemetry opentelemetry_api
    opentelemetry_proto opentelemetry_sdk opentelemetry_semantic_conventions optuna packaging pandas parso pathspec
    pexpect pil pillow platformdirs pluggy polars polars_runtime_32 pre_commit prettytable prompt_toolkit propcache
    protobuf psutil ptyprocess pure_eval py pyarrow pyasn1 pyasn1_modules pycparser pydantic pydantic_core
    pydevd_plugins pygments pylab pyparsing pytest python_dateutil python_discovery python_dotenv pywin32 pyyaml pyzmq
    referencing requests rpds rpds_py ruamel ruamel_yaml ruff scikit_learn scipy sklearn skops smmap sqlalchemy sqlparse
    stack_data starlette threadpoolctl tornado tqdm traitlets typing_extensions typing_inspection tzdata tzlocal urllib3
    uvicorn virtualenv waitress wcwidth werkzeug xgboost yaml yarl zipp zmq
"""


def standard_modules():
    """Names of the standard library's modules; before Python 3.10, the files it lies in."""
    if hasattr(sys, "stdlib_module_names"):
        return sys.stdlib_module_names
    folder = os.path.dirname(os.__file__)
    files = os.listdir(folder) + os.listdir(os.path.join(folder, "lib-dynload"))
    return {*sys.builtin_module_names, *(name.split(".")[0] for name in files)}


# Lower case, as file systems that ignore case read names.
RESERVED = {word.lower() for word in [*keyword.kwlist, "match", "case", "type", "NotImplemented", "Ellipsis"]}
TAKEN = {name.lower() for name in [*standard_modules(), "tomllib", *FOLDERS.split(), *INSTALLED.split()]}


def ascii_words(value, joint):
    """The value's ASCII letters and digits, accents removed, the rest turned into `joint`."""
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", joint, plain).strip(joint)


def free_slug(value):
    """A slug like `value` that is not refused."""
    slug = ascii_words(value, "-")[:50].strip("-") or "ml-project"
    return slug if slug.lower().replace("-", "_") not in TAKEN else f"{slug}-project"


def free_package(value):
    """A package name like `value` that is not refused: 2024_sales becomes sales_2024, mlflow becomes mlflow_project."""
    digits, words = re.fullmatch(r"([0-9_]*)(.*)", ascii_words(value, "_")).groups()
    name = "_".join(part.strip("_") for part in (words[:30] or "project", digits[:9]) if part)
    return name if name.lower() not in RESERVED | TAKEN else f"{name}_project"


def fault(key, value):
    """What is wrong with an answer and the answer to give instead; None where nothing is."""
    if UNPRINTABLE.search(value):
        return "holds a line break or a control character", " ".join(UNPRINTABLE.sub(" ", value).split())
    if TEMPLATE.search(value):
        return "holds template syntax", " ".join(TEMPLATE.sub(" ", value).split())
    if key == "project_name":
        if not value.strip():
            return "is empty", "Penguin Classifier"
        # A description or an author may hold separators ("R&D / Ops"): nothing is named after them.
        if "/" in value or "\\" in value:
            return "holds a path separator", re.sub(r"\s*[/\\]+\s*", " ", value).strip() or "Penguin Classifier"
    if key == "project_slug":
        if not SLUG.fullmatch(value):
            why = "is not 1 to 60 ASCII letters, digits, '-', '_' and '.' with a letter or digit at both ends"
            return why, free_slug(value)
        if re.sub(r"[-_.]+", "_", value.lower()) in TAKEN:
            return "is the name of a package or folder that the project uses", free_slug(value)
    if key == "package_name":
        if not PACKAGE.fullmatch(value):
            return "is not 1 to 50 ASCII letters, digits and '_' with a letter first", free_package(value)
        if value.lower() in RESERVED:
            return "is a word of the Python language", free_package(value)
        if value.lower() in TAKEN:
            return "would hide a module or a folder that the project uses", free_package(value)
    if key == "python_version" and value not in TESTED:
        return f"is not one of the tested {', '.join(TESTED)}", TESTED[0]
    return None


def sweep(project, output):
    """Removes the empty folders that a slug such as a/b left above the project.

    In a child, as cookiecutter removes the project itself only once this hook has ended.
    """
    parent = os.path.dirname(project)
    if parent == output or os.fork():
        return
    for _ in range(200):
        if not os.path.exists(project):
            break
        time.sleep(0.01)
    while parent != output:
        try:
            os.rmdir(parent)
        except OSError:
            break
        parent = os.path.dirname(parent)
    os._exit(0)


faults = {key: fault(key, value) for key, value in ANSWERS.items() if not key.startswith("_")}
# A default that only repeats a refused answer needs no sentence of its own.
if faults["project_slug"] and ANSWERS["package_name"] == re.sub("[-.]", "_", ANSWERS["project_slug"])[:50]:
    faults["package_name"] = None
if faults["project_name"] and ANSWERS["author"] == f"The {ANSWERS['project_name']} authors":
    faults["author"] = None
for key, found in faults.items():
    if found:
        value = ANSWERS[key]
        shown = value if value and value.isprintable() else ascii(value)
        print(f"{key}={shown} {found[0]}: take {key}={found[1]}", file=sys.stderr)
if any(faults.values()):
    sys.stderr.flush()
    sweep(os.getcwd(), os.path.realpath(ANSWERS.get("_output_dir", ".")))
    sys.exit(1)
if os.listdir():
    open(BEGAN, "w", encoding="utf-8").close()
