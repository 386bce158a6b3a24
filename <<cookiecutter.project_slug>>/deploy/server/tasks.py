"""What is done beside the parts of the server, where these find each other: the variables of compose.yaml say where.

tasks.py setup                 waits for PostgreSQL and the bucket's host, and makes what is not there yet
tasks.py well                  fails where MLflow does not answer
tasks.py save-bucket FOLDER    tasks.py load-bucket FOLDER
tasks.py empty                 fails where the database holds runs
tasks.py admit-administrator   after restoring: the administrator's password is .env's again
"""

import os
import re
import string
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

PATIENCE = 90  # seconds for PostgreSQL and the bucket's host to answer


def setup() -> None:
    """Waits for PostgreSQL and the bucket's host; makes what is not there yet."""
    import psycopg

    with patiently("PostgreSQL", lambda: psycopg.connect(dbname="postgres", autocommit=True)) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'mlflow'").fetchone():
            connection.execute("CREATE DATABASE mlflow")
    patiently("S3", make_bucket)
    folder = Path("state/nginx")
    template = string.Template(Path("nginx.conf").read_text())
    (folder / "nginx.conf").write_text(template.safe_substitute(os.environ))
    if not (folder / "server.crt").exists():
        name = os.environ["SERVER_NAME"]
        kind = "IP" if re.fullmatch(r"[\d.]+|.*:.*", name) else "DNS"
        words = f"openssl req -x509 -newkey rsa:2048 -nodes -days 825 -subj /CN={name}".split()
        words += f"-addext subjectAltName={kind}:{name} -keyout {folder}/server.key -out {folder}/server.crt".split()
        subprocess.run(words, check=True, capture_output=True)
        print(
            f"{folder / 'server.crt'} is made: only those trust it who are told to; a certificate of yours goes there"
        )


def make_bucket() -> None:
    """The bucket, where it is not there; asks for no more than bucket-policy.json allows."""
    from botocore.exceptions import ClientError

    try:
        s3().head_bucket(Bucket=os.environ["BUCKET"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        s3().create_bucket(Bucket=os.environ["BUCKET"])


def patiently(name: str, attempt):
    """What `attempt` gives once it does; a sentence when it has not for long."""
    for second in range(PATIENCE):
        try:
            return attempt()
        except Exception as error:
            if second == PATIENCE - 1 or re.search("password|[Cc]redential|Forbidden", str(error)):
                raise SystemExit(f"{name} does not answer: {' '.join(str(error).split())}") from None
        time.sleep(1)


def s3():
    """A client of the bucket's host."""
    import boto3

    return boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])


def well() -> None:
    """Fails where MLflow does not answer."""
    address = f"http://{os.environ['MLFLOW_HOST']}:{os.environ['MLFLOW_PORT']}/health"
    urllib.request.urlopen(address, timeout=5).close()


def save_bucket(folder: str) -> None:
    """Every object of the bucket as a file."""
    count = 0
    for page in s3().get_paginator("list_objects_v2").paginate(Bucket=os.environ["BUCKET"]):
        for each in page.get("Contents", []):
            file = Path(folder) / each["Key"]
            file.parent.mkdir(parents=True, exist_ok=True)
            s3().download_file(os.environ["BUCKET"], each["Key"], str(file))
            count += 1
    print(f"{count} files of the bucket")


def load_bucket(folder: str) -> None:
    """Every file back into the bucket."""
    for file in (path for path in Path(folder).rglob("*") if path.is_file()):
        s3().upload_file(str(file), os.environ["BUCKET"], file.relative_to(folder).as_posix())


def empty() -> None:
    """Fails where the database holds runs."""
    import psycopg

    with psycopg.connect(dbname="mlflow") as connection:
        there = connection.execute("SELECT to_regclass('runs') IS NOT NULL").fetchone()[0]
        count = there and connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    if count:
        raise SystemExit(
            f"the server holds {count} runs: `restore <time> --replace` puts what the back-up has in their place"
        )


def admit_administrator() -> None:
    """The administrator's password is .env's again, whatever the restored tables say."""
    warnings.simplefilter("ignore")  # of MLflow's libraries, about each other
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db("postgresql:///mlflow")
    name, password = os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]
    if store.has_user(name):
        store.update_user(name, password=password, is_admin=True)


TASKS = (setup, well, save_bucket, load_bucket, empty, admit_administrator)
if __name__ == "__main__":
    {task.__name__.replace("_", "-"): task for task in TASKS}[sys.argv[1]](*sys.argv[2:])
