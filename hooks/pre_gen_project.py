"""Refuses answers that would make a broken project: one sentence for each, and the command that goes on with the rest.

cookiecutter runs this in the new, still empty folder, and stands in the template's folder itself.
Standard library only, Python 3.9 and later.
"""

import json
import keyword
import os
import re
import signal
import sys
import unicodedata

ANSWERS = json.loads(r"""<< cookiecutter | tojson >>""")
CHOICES = ANSWERS["_choices"]
UNDER_CRUFT = "_output_dir" not in ANSWERS  # cookiecutter itself always says where
BEGAN = ".cookiecutter.began"  # tells the post hook which files were there before
SLUG = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,58}[A-Za-z0-9])?")
PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")

# Jinja's delimiters, the usual ones and this template's, and the start of Hydra's and GitHub's interpolations.
TEMPLATE = re.compile(r"<[%#<]|[%#>]>|{[{%#]|[}%#]}|\${")
# What YAML, TOML or JSON cannot carry between double quotes: controls, line ends, surrogates (bytes that are no UTF-8).
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")

FOLDERS = "conf data deploy docs notebooks outputs test tests mlruns mlartifacts"
# What the template's own lists of requirements do not tell: packages that are imported by another name, and what the
# development tools and extras bring along, which no project can be called like. A test holds both against a lock.
IMPORTED = """
    antlr4 attr databricks dateutil dotenv git google graphql hydra mpl_toolkits opentelemetry pil pydevd_plugins pylab
    rpds ruamel sklearn yaml
"""
BROUGHT = """
    absl_py aiohappyeyeballs aiohttp aiosignal appnope arro3_core ast_serialize asttokens async_timeout azure_core
    botocore cfgv comm cuda_bindings cuda_pathfinder cuda_toolkit debugpy deprecated distlib durationpy executing
    fastjsonschema filelock frozenlist fsspec google_api_core google_cloud_core google_crc32c google_resumable_media
    googleapis_common_protos grpcio grpcio_status h5py identify iniconfig ipykernel_launcher ipython
    ipython_pygments_lexers isodate jedi jmespath jupyter jupyter_client jupyter_core librt lightning_utilities
    markdown_it_py matplotlib_inline mdurl ml_dtypes mmh3 mpmath msal msal_extensions multidict mypy_extensions
    mypyc namex nbformat nest_asyncio2 networkx nodeenv nvidia_cublas nvidia_cuda_cccl nvidia_cuda_cupti
    nvidia_cuda_nvrtc nvidia_cuda_runtime nvidia_cudnn_cu13 nvidia_cufft nvidia_cufile nvidia_cusolver
    nvidia_cusparse nvidia_cusparselt_cu13 nvidia_nccl_cu12 nvidia_nccl_cu13 nvidia_nvjitlink nvidia_nvshmem_cu13
    nvidia_nvtx oauthlib optree parso pathspec pexpect platformdirs pluggy prompt_toolkit propcache proto_plus
    ptyprocess pure_eval py py4j pygments pyjwt pyroaring python_discovery pytorch_lightning pyzmq requests_oauthlib
    rich s3transfer setuptools stack_data strictyaml sympy tenacity torchmetrics tornado traitlets triton virtualenv
    websocket_client wrapt yarl zmq zstandard
"""
# A requirement as either file has it: `numpy==2.4.6 \` at the start of a line, "mlflow[auth]>=3.17,<3.18" in quotes.
REQUIREMENT = re.compile(r'(?:^|")([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]"]*\])?[<>=~!]=', re.MULTILINE)


def required():
    """Names, `_` for `-`, of what the template's files require; none where its folder cannot be seen from here."""
    # cookiecutter is in the template's folder while hooks run; elsewhere than on Linux a relative path is the shell's.
    typed = os.path.join(os.environ.get("PWD", ""), os.path.expanduser(ANSWERS.get("_repo_dir", "")))
    for place in (f"/proc/{os.getppid()}/cwd", typed):
        if os.path.isfile(os.path.join(place, "cookiecutter.json")):
            break
    else:
        return set()
    [project] = [name for name in os.listdir(place) if "cookiecutter.project_slug" in name]
    texts = []
    for name in ("requirements.txt", "pyproject.toml"):
        with open(os.path.join(place, project, name), encoding="utf-8") as file:
            texts.append(file.read())
    return {re.sub(r"[-_.]+", "_", name) for name in REQUIREMENT.findall("\n".join(texts))}


def standard_modules():
    """Names of the standard library's modules; before Python 3.10, the files it lies in."""
    if hasattr(sys, "stdlib_module_names"):
        return sys.stdlib_module_names
    folder = os.path.dirname(os.__file__)
    files = os.listdir(folder) + os.listdir(os.path.join(folder, "lib-dynload"))
    return {*sys.builtin_module_names, *(name.split(".")[0] for name in files)}


# Lower case, as file systems that ignore case read names.
RESERVED = {word.lower() for word in [*keyword.kwlist, "match", "case", "type", "NotImplemented", "Ellipsis"]}
LISTED = f"{FOLDERS} {IMPORTED} {BROUGHT} tomllib".split()
TAKEN = {name.lower() for name in [*standard_modules(), *LISTED, *required()]}


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
    if key in CHOICES and value not in CHOICES[key]:
        alike = [len(os.path.commonprefix([choice.lower(), value.lower()])) for choice in CHOICES[key]]  # noqa: RUF071
        return f"is none of {', '.join(CHOICES[key])}", CHOICES[key][alike.index(max(alike))]
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
    return None


def command(answers):
    """The command that generates a project of these answers where the refused one was to lie."""
    import shlex  # here, as only a refusal needs it

    # uv sets UV for what it starts. An address loses its password, as this may be the log of a server.
    words = ["uvx"] if "UV" in os.environ else []
    words += ["cookiecutter", "--no-input", shlex.quote(re.sub(r"^(https?://)[^/]*@", r"\1", ANSWERS["_template"]))]
    if ANSWERS["_checkout"]:
        words += ["--checkout", shlex.quote(ANSWERS["_checkout"])]
    if ANSWERS["_output_dir"] != os.environ.get("PWD"):
        words += ["--output-dir", shlex.quote(ANSWERS["_output_dir"])]
    return " ".join([*words, *(f"{key}={shlex.quote(value)}" for key, value in answers.items())])


def interruptible(process):
    """Whether a process is cookiecutter's own command, not a program that uses its library, and heeds Ctrl-C."""
    heeds = True
    try:
        with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().split("\0")
        with open(f"/proc/{process}/status", encoding="utf-8") as file:
            caught = re.search(r"^SigCgt:\s*(\w+)", file.read(), re.MULTILINE)[1]
        heeds = bool(int(caught, 16) & 2 ** (signal.SIGINT - 1))
    except OSError:  # no /proc, as on macOS
        import subprocess

        try:
            words = subprocess.check_output(["ps", "-ww", "-o", "args=", "-p", str(process)], encoding="utf-8").split()
        except (OSError, subprocess.CalledProcessError):
            return False
    named = "cookiecutter" in map(os.path.basename, words[:2]) or words[1:3] == ["-m", "cookiecutter"]
    return named and heeds


def stop():
    """Ends cookiecutter with one word, as Ctrl-C does, where it would print a traceback because this hook failed.

    It then leaves the empty folder behind: so that goes here, and those that a slug such as a/b left above it.
    """
    if interruptible(os.getppid()):
        folder, output = os.getcwd(), os.path.realpath(ANSWERS["_output_dir"])
        try:
            while folder != output:
                os.rmdir(folder)
                folder = os.path.dirname(folder)
        except OSError:  # somebody's files are in it
            pass
        os.kill(os.getppid(), signal.SIGINT)
    sys.exit(1)


given = {key: value for key, value in ANSWERS.items() if not key.startswith("_")}
# A default that only repeats a refused answer needs no sentence of its own, and is made again.
slug, name = given["project_slug"], given["project_name"]
if fault("project_slug", slug) and given["package_name"] == re.sub("[-.]", "_", slug)[:50]:
    del given["package_name"]
if fault("project_name", name) and given["author"] == f"The {name} authors":
    del given["author"]
faults = {key: fault(key, value) for key, value in given.items()}
for key, wrong in faults.items():
    if wrong:
        shown = given[key] if given[key] and given[key].isprintable() else ascii(given[key])
        print(f"{key}={shown} {wrong[0]}: take {key}={wrong[1]}", file=sys.stderr)
        given[key] = wrong[1]
if any(faults.values()):
    if not UNDER_CRUFT:
        print("With every other answer kept:", command(given), file=sys.stderr)
    sys.stderr.flush()
    stop()
if os.listdir():
    open(BEGAN, "w", encoding="utf-8").close()
