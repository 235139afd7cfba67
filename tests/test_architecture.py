"""The laws of design that a reader of the source can check, checked."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gateway", "consent", "storage")
HIDING = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "deps",
    "crud",
    "schemas",
    "manager",
    "managers",
    "base",
}


def sources() -> list[Path]:
    return [p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py")) if "versions" not in p.parts]


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def name_of(node: ast.expr) -> str:
    """`a.b.c` as text, for calls and attributes."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def callers_of(*called: str) -> dict[str, set[str]]:
    """Files in which one of these is called (by its last name), per name."""
    found: dict[str, set[str]] = {name: set() for name in called}
    for path in sources():
        for node in nodes(path):
            if isinstance(node, ast.Call):
                last = name_of(node.func).rpartition(".")[2]
                if last in found:
                    found[last].add(str(path.relative_to(ROOT)))
    return found


def users_of(text: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in sources()
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and name_of(node) == text
    }


def test_what_opens_the_catalog_is_made_in_one_place() -> None:
    made = callers_of("Visible", "Visibility")
    assert made["Visible"] == {"consent/decide.py"}
    assert made["Visibility"] <= {"consent/decide.py"}


def test_stewardship_is_entrusted_in_the_composition_root_alone() -> None:
    assert callers_of("Custody")["Custody"] <= {"gateway/app.py", "gateway/cli.py"}


def test_instance_references_are_made_by_the_catalog_alone() -> None:
    assert callers_of("InstanceRef")["InstanceRef"] <= {"storage/catalog.py", "storage/catalog_rows.py"}


def test_the_environment_is_read_in_one_place() -> None:
    assert users_of("os.environ") <= {"gateway/settings.py"}


def test_the_clock_is_read_in_one_place() -> None:
    clocks = users_of("datetime.now") | users_of("time.time") | users_of("datetime.datetime.now")
    assert clocks <= {"gateway/app.py", "gateway/cli.py"}


def test_no_file_hides_what_is_inside_behind_its_name() -> None:
    assert [str(p) for p in sources() if p.stem in HIDING] == []


def test_every_module_says_what_it_is() -> None:
    silent = [str(p) for p in sources() if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]
    assert silent == []


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[0]
    documented = isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant)
    docstring = (body.end_lineno or 0) - body.lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_files_and_functions_stay_small() -> None:
    long_files = [str(p) for p in sources() if len(p.read_text(encoding="utf-8").splitlines()) > 500]
    sizes = {
        f"{path.relative_to(ROOT)}:{node.name}": lines_of(node)
        for path in sources()
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert long_files == []
    assert {name: size for name, size in sizes.items() if size > 60} == {}
    assert statistics.median(sizes.values()) <= 8


CATALOG_READERS = {
    # the discloser and the SQL it is made of
    "storage/catalog.py",
    "storage/query.py",
    "consent/rules.py",
    "consent/decide.py",
    # stewardship: ingest, checks and derived documents, which disclose nothing
    "storage/steward.py",
    "storage/admission.py",
    "storage/ingest.py",
    "storage/index.py",
    "storage/document.py",
    "storage/fsck.py",
}


def test_catalog_rows_are_read_in_few_places() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in sources()
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom)
        and node.module == "storage.tables"
        and {alias.name for alias in node.names} & {"study", "series", "instance"}
    }
    assert readers - CATALOG_READERS == set()


def failure_numbers(node: ast.AST) -> list[int]:
    """Failure statuses that a call hands on, by keyword or to an HTTP exception or response."""
    if not isinstance(node, ast.Call):
        return []
    answers = name_of(node.func).rpartition(".")[2].endswith(("HTTPException", "Response", "problem"))
    given = [keyword.value for keyword in node.keywords if keyword.arg in {"status", "status_code"}]
    given += node.args if answers else []
    return [v.value for v in given if isinstance(v, ast.Constant) and type(v.value) is int and 400 <= v.value < 600]


def test_failure_statuses_stand_in_one_table() -> None:
    tables = {"gateway/problems.py", "gateway/auth/oauth_error.py"}
    found = {
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources()
        if str(path.relative_to(ROOT)) not in tables
        for node in nodes(path)
        for number in failure_numbers(node)
    }
    assert found == set()
