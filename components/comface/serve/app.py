"""The HTTP interface, described by itself in /openapi.json and on /docs.

In: a Service. Out: an ASGI application. The paths below /v1/models are those of KServe's V1 protocol.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from comface import __version__
from comface.serve import answers
from comface.serve.guard import Guard
from comface.serve.limits import RETRY_AFTER_S, Limits, Refusal
from comface.serve.pages import FILES, api_page, asset
from comface.serve.service import Service

NAME = "comface"
"""The model's name in KServe's protocol."""
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": answers.Error, "description": "the request is malformed, or has fewer than two photos"},
    408: {"model": answers.Error, "description": "the upload took too long"},
    413: {"model": answers.Error, "description": "too many bytes, pixels or photos"},
    415: {"model": answers.Error, "description": "not a form, or a photo in a format that is not read"},
    422: {"model": answers.Error, "description": "a photo is damaged, or shows no face or several"},
    429: {"model": answers.Error, "description": "busy: try again after `Retry-After` seconds"},
    503: {"model": answers.Error, "description": "not ready, stopping, or it took too long"},
}
NO_SUCH_MODEL: dict[int | str, dict[str, Any]] = {
    404: {"model": answers.Error, "description": "there is no model of this name"}
}
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photos"],
                    "properties": {
                        "photos": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 2,
                            "description": "photos of one person, the oldest first: JPEG, PNG, WEBP, HEIC, AVIF, TIFF",
                        },
                        "saliency": {"type": "boolean", "description": "also the aligned faces and saliency maps"},
                        "all": {"type": "boolean", "description": "every task, also those of one quantity"},
                    },
                }
            }
        },
    }
}
JSON_BODY = {"requestBody": {"required": True, "content": {"application/json": {
    "schema": {"$ref": "#/components/schemas/Instances"}}}}}  # fmt: skip


def make_app(service: Service, lifespan: Any = None) -> Guard:
    app = FastAPI(
        title="ComFace", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description="The estimated change between photos of one person. No photo is stored.",
    )  # fmt: skip
    _comparing(app, service)
    _kserve(app, service)
    _watching(app, service)
    _pages(app)
    _errors(app, service)
    openapi = app.openapi()
    schemas = answers.Instances.model_json_schema(ref_template="#/components/schemas/{model}")
    openapi["components"]["schemas"].update({**schemas.pop("$defs"), "Instances": schemas})
    return Guard(app, service.metrics)


def _comparing(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/compare", response_model=answers.Comparison, response_model_exclude_unset=True, responses=REFUSALS,
        openapi_extra=FORM,
    )  # fmt: skip
    async def compare(request: Request) -> Any:
        """Estimate the change between two or more photos of one person, for every quantity the model knows."""
        with service.place(request):
            form = await service.form(request)
            return await service.compared(form.photos, _flag(form.fields, "saliency"), _flag(form.fields, "all"))

    @app.get("/v1/model", response_model=answers.ModelFacts, responses={503: REFUSALS[503]})
    async def model() -> Any:
        """The model that answers: its card, its tasks, what it was made from."""
        _check_loaded(service)
        return service.facts()


def _kserve(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models/{name}", response_model=answers.Served, responses=NO_SUCH_MODEL)
    async def served(name: str) -> Any:
        """KServe: whether the model is ready."""
        _check_name(name)
        return {"name": name, "ready": service.ready}

    @app.post(
        "/v1/models/{name}:predict", response_model=answers.Predictions, response_model_exclude_unset=True,
        responses={**REFUSALS, **NO_SUCH_MODEL}, openapi_extra=JSON_BODY,
    )  # fmt: skip
    async def predict(name: str, request: Request) -> Any:
        """KServe: the same as /v1/compare, with photos as base64 in JSON."""
        _check_name(name)
        with service.place(request):
            found = []
            for photos in _instances(await service.body(request), service.limits):
                found.append(await service.compared(photos, pictures=False, everything=False))
            return {"predictions": found}


def _watching(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_model=answers.Status)
    async def healthz() -> Any:
        """Whether the server process answers."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=answers.Status, responses={503: REFUSALS[503]})
    async def readyz() -> Any:
        """Whether the model is loaded and requests are taken."""
        _check_loaded(service)
        return {"status": "ready"}


def _pages(app: FastAPI) -> None:
    described: list[bytes] = []

    def add(path: str, name: str) -> None:
        @app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
        async def page() -> Response:
            return Response(asset(name), media_type=FILES[name])

    for name in FILES:
        add("/" if name == "page.html" else f"/{name}", name)

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs() -> Response:
        described[:] = described or [api_page(app.openapi()).encode()]
        return Response(described[0], media_type="text/html; charset=utf-8")


def _errors(app: FastAPI, service: Service) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> JSONResponse:
        service.metrics.refusals.labels(refusal.reason).inc()
        headers = {"retry-after": str(RETRY_AFTER_S)} if refusal.retry else {}
        return JSONResponse(refusal.record(), refusal.status, headers)

    @app.exception_handler(HTTPException)
    @app.exception_handler(404)
    @app.exception_handler(405)
    async def unknown(_: Request, error: HTTPException) -> JSONResponse:
        sentence = "This path does not take such requests; see /docs."
        return JSONResponse({"error": {"code": "no_such_path", "message": sentence}}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        service.metrics.refusals.labels("failed").inc()
        sentence = f"This is a defect of comface: {type(error).__name__}; please report it."
        return JSONResponse({"error": {"code": "failed", "message": sentence}}, 500)


def _instances(body: bytes, limits: Limits) -> list[list[bytes]]:
    try:
        found = answers.Instances.model_validate_json(body)
        photos = [[base64.b64decode(each.b64, validate=True) for each in one.photos] for one in found.instances]
    except (ValidationError, binascii.Error, ValueError):
        sentence = 'Send {"instances": [{"photos": [{"b64": "…"}, {"b64": "…"}]}]} with two or more photos each.'
        raise Refusal(400, "malformed_json", sentence) from None
    if sum(map(len, photos)) > limits.photos:
        raise Refusal(413, "too_many_photos", f"Send at most {limits.photos} photos at a time.")
    for one in photos:
        for number, photo in enumerate(one, start=1):
            if len(photo) > limits.photo_bytes:
                raise limits.photo_too_large(number)
    return photos


def _check_loaded(service: Service) -> None:
    if not service.ready:
        raise Refusal(503, "not_ready", "The model is being loaded, or the service stops; try again soon.", retry=True)


def _check_name(name: str) -> None:
    if name != NAME:
        raise Refusal(404, "no_such_model", f"There is no model of this name here; it is called '{NAME}'.")


def _flag(fields: Mapping[str, str], name: str) -> bool:
    value = fields.get(name, "false").strip().lower()
    if value not in ("", "0", "1", "false", "true", "on", "off"):
        raise Refusal(400, "unknown_value", f"The field '{name}' is neither true nor false; correct it.")
    return value in ("1", "true", "on")
