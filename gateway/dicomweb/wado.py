"""WADO-RS: the retrieve resources at study, series and instance level (PS3.18 10.4)."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.dicomweb import offers
from gateway.dicomweb.accept import Representation, negotiate
from gateway.dicomweb.bulk_data import send_bulk_data
from gateway.dicomweb.frames import parse_frame_list, send_frames
from gateway.dicomweb.instances import send_instances
from gateway.dicomweb.metadata import send_metadata
from gateway.dicomweb.query_string import accept_parameters
from gateway.errors import BadRequest
from gateway.settings import Settings
from gateway.transactions import Exchange
from storage.model import Target

UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
UID_LENGTH: Final = 64
METHODS: Final = ["GET", "HEAD"]
STUDY: Final = "/dicom-web/studies/{study}"
SERIES: Final = STUDY + "/series/{series}"
INSTANCE: Final = SERIES + "/instances/{instance}"


def target_of(request: Request) -> Target:
    """What the path names; a parameter of the query never does.

    Raises
    ------
    BadRequest : a UID in it is no UID (PS3.5 9.1)
    """
    study, series, instance = (request.path_params.get(level) for level in ("study", "series", "instance"))
    for uid in (study, series, instance):
        if uid is not None and (len(uid) > UID_LENGTH or not UID.fullmatch(uid)):
            raise BadRequest("A UID has at most 64 characters, digits with dots between.")
    return Target(study_instance_uid=str(study), series_instance_uid=series, sop_instance_uid=instance)


def routes(exchange: Exchange, settings: Settings) -> list[Route]:
    """The retrieve routes."""
    base = settings.public_url

    def asked(request: Request, offered: offers.Offers) -> Representation:
        return negotiate(request.headers.getlist("accept"), accept_parameters(request.scope["query_string"]), offered)

    async def retrieve(request: Request) -> Response:
        call = await exchange.authenticate(request)
        target = target_of(request)
        representation = asked(request, offers.SINGLE_INSTANCE if target.sop_instance_uid else offers.INSTANCES)
        retrieval = await exchange.retrieve(call, target)
        return await send_instances(retrieval, representation, base)

    async def metadata(request: Request) -> Response:
        call = await exchange.authenticate(request)
        target = target_of(request)
        asked(request, offers.METADATA)
        retrieval = await (
            exchange.retrieve(call, target) if target.sop_instance_uid else exchange.describe(call, target)
        )
        return await send_metadata(retrieval, base, request.headers.get("accept-encoding", ""))

    async def frames(request: Request) -> Response:
        call = await exchange.authenticate(request)
        target, wanted = target_of(request), parse_frame_list(request.path_params["numbers"])
        representation = asked(request, offers.ONE_FRAME if len(wanted) == 1 else offers.FRAMES)
        retrieval = await exchange.retrieve(call, target, with_frames=True)
        return await send_frames(retrieval, wanted, representation, base)

    async def bulk_data(request: Request) -> Response:
        call = await exchange.authenticate(request)
        target, representation = target_of(request), asked(request, offers.BULK_DATA)
        retrieval = await exchange.retrieve(call, target, with_frames=True)
        return await send_bulk_data(retrieval, request.path_params["path"], representation, base)

    resources = {
        INSTANCE + "/frames/{numbers}": frames,  # asked for most often
        **{path + "/metadata": metadata for path in (SERIES, INSTANCE, STUDY)},
        **dict.fromkeys((INSTANCE, SERIES, STUDY), retrieve),
        INSTANCE + "/bulkdata/{path:path}": bulk_data,
    }
    return [Route(path, handler, methods=METHODS) for path, handler in resources.items()]
