"""Fixtures for every test: real databases, made-up patients, and the services a test needs.

A test that needs a program carries `@pytest.mark.needs("nginx")` (or uses a fixture that does). Where the program is
not installed the test is skipped with one line that says how to get it; with OPENPRIORS_TESTS_REQUIRE_SERVICES=1,
which `.ci/run` sets, the missing program is a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gateway.auth.tables  # noqa: F401
from storage import schema
from storage.database import Database, sqlite_url

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

SERVICES = {
    "postgresql": ("initdb", "apt-get install postgresql"),
    "orthanc": ("Orthanc", "apt-get install orthanc orthanc-dicomweb"),
    "nginx": ("nginx", "apt-get install nginx"),
    "redis": ("redis-server", "apt-get install redis-server"),
    "chromium": ("chromium", "apt-get install chromium"),
    "strace": ("strace", "apt-get install strace"),
    "wrk": ("wrk", "apt-get install wrk"),
    "fuse3": ("fusermount3", "apt-get install fuse3"),
    "dcmtk": ("dcmdump", "apt-get install dcmtk"),
}


def find_program(service: str) -> str | None:
    """The path of a service's program; PostgreSQL keeps its own outside PATH."""
    name = SERVICES[service][0]
    found = shutil.which(name)
    if found is None and service == "postgresql":
        homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        found = str(homes[-1]) if homes else None
    return found


def require(service: str) -> str:
    """The path of a service's program, or skip this test saying how to get it."""
    found = find_program(service)
    if found is None:
        reason = f"needs {service}: {SERVICES[service][1]}"
        if os.environ.get("OPENPRIORS_TESTS_REQUIRE_SERVICES"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for service in marker.args:
            require(service)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL prefix of a running PostgreSQL with a prepared template database."""
    bin_dir = Path(require("postgresql")).parent
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(home, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data, port = home / "data", free_port()
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*as_user, bin_dir / "initdb", "-D", data, "-A", "trust", "-U", "gw", "-E", "UTF8"], **quiet)
    options = (
        f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off -c max_connections=200"
    )
    subprocess.run([*as_user, bin_dir / "pg_ctl", "-D", data, "-w", "-o", options, "start"], **quiet)
    prefix = f"postgresql+psycopg://gw@127.0.0.1:{port}/"
    _run_sql(prefix + "postgres", "CREATE DATABASE prepared")
    template = Database(prefix + "prepared")
    template.write(schema.install, "test-store")
    template.close()
    yield prefix
    subprocess.run([*as_user, bin_dir / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(home, ignore_errors=True)


def _run_sql(url: str, statement: str) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """Make an empty, installed database of a kind: `sqlite` or `postgresql`."""
    made: list[Database] = []

    def make(kind: str) -> Database:
        if kind == "sqlite":
            database = Database(sqlite_url(tmp_path))
            database.write(schema.install, "test-store")
        else:
            prefix = request.getfixturevalue("postgresql_server")
            name = f"t{os.getpid()}_{os.urandom(6).hex()}"
            _run_sql(prefix + "postgres", f"CREATE DATABASE {name} TEMPLATE prepared")
            database = Database(prefix + name)
        made.append(database)
        return database

    yield make
    for database in made:
        database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, new_database: Callable[[str], Database]) -> Database:
    """The same test on SQLite and on PostgreSQL."""
    return new_database(request.param)


@pytest.fixture
def sqlite_database(new_database: Callable[[str], Database]) -> Database:
    return new_database("sqlite")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real studies kept beside the project, which no test may copy into it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the sample studies in ../shared/data, which are not part of the project")
    return SHARED_DATA
