"""Whether the gateway lives, and whether it can serve: /livez and /readyz."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from storage import epoch
from storage.data_directory import DataDirectory
from storage.database import Database
from storage.errors import NotDurable, ReadOnly
from storage.log.audit_log import AuditLog


def router(database: Database, directory: DataDirectory, log: AuditLog) -> APIRouter:
    """Routes for whoever watches over the process; they need no credential and tell nothing about patients."""
    routes = APIRouter()

    @routes.get("/livez")
    async def livez() -> Response:
        """200 while the process answers at all."""
        return PlainTextResponse("alive\n")

    @routes.get("/readyz")
    async def readyz() -> Response:
        """200 when consent can be decided, images can be stored and the record can be signed; else 503."""
        try:
            await database.fetch(epoch.current)
        except SQLAlchemyError as error:
            raise NotDurable("The database does not answer.") from error
        if directory.writability.fault is not None:
            raise ReadOnly
        if log.trouble is not None:
            raise NotDurable("The log cannot be signed and published; the operators find why in the gateway's own log.")
        return PlainTextResponse("ready\n")

    return routes
