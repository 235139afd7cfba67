"""A statement compiled once: what runs later is its text and its parameters.

Building a statement, or even looking up its compiled form by structure, costs several times what the database needs
to answer it. A `Prepared` is kept by whoever built it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ClauseElement, Connection, Dialect, Row
from sqlalchemy.sql.compiler import SQLCompiler

FORMS: Final = 512
"""Forms of statements and answers that are kept. A form is level, keys and ways of matching: there are few in use."""


class Prepared:
    """One statement in the dialect of one database; its values are given by the names of its bind parameters.

    Raises
    ------
    ValueError : the statement's text depends on its parameters (an expanding IN), so it cannot be compiled once
    """

    __slots__ = ("_fixed", "_names", "_positional", "text")

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        if compiled.post_compile_params or compiled.literal_execute_params:
            raise ValueError("a prepared statement cannot hold a list that grows with its values")
        self.text = compiled.string
        self._positional = compiled.positiontup is not None
        self._names = tuple(compiled.positiontup or compiled.bind_names.values())
        # constants of the statement have values of their own; a required parameter has none
        self._fixed = {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}

    def rows(self, tx: Connection, parameters: Mapping[str, object]) -> Sequence[Row[Any]]:
        """Run it. Every parameter that the statement names must be given; others may be.

        Raises
        ------
        KeyError : a parameter is missing; nothing ran
        """
        values = {**self._fixed, **parameters}
        if self._positional:
            return tx.exec_driver_sql(self.text, tuple([values[name] for name in self._names])).all()
        return tx.exec_driver_sql(self.text, {name: values[name] for name in self._names}).all()
