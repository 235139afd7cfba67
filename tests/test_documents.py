"""The documents say what the program does."""

from __future__ import annotations

from pathlib import Path

from gateway.dicomweb import qido, wado
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def test_every_setting_is_in_the_example_with_its_meaning() -> None:
    example = (ROOT / "deploy" / "gateway.env.example").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"\n# {field.description}\n#OPENPRIORS_{name.upper()}=" in example


def test_every_dicomweb_resource_is_in_the_conformance_statement() -> None:
    statement = (ROOT / "CONFORMANCE.md").read_text(encoding="utf-8")
    searched = [path for path, _ in qido.RESOURCES]
    retrieved = [
        *(wado.STUDY, wado.SERIES, wado.INSTANCE),
        *(path + "/metadata" for path in (wado.STUDY, wado.SERIES, wado.INSTANCE)),
        *(wado.INSTANCE + "/frames/{numbers}", wado.INSTANCE + "/bulkdata/{path}"),
    ]
    for path in searched + retrieved:
        assert f"| `{path}` |" in statement
