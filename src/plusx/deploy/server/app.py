"""The application: what is asked under which address."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from plusx.deploy.server import described, explaining, view
from plusx.deploy.server.bodies import Asked, Held, received, take_apart
from plusx.deploy.server.faults import Fault, as_json
from plusx.deploy.server.guard import Guard
from plusx.deploy.server.metrics import Metrics
from plusx.deploy.server.models import Models
from plusx.deploy.server.predicting import FIELDS, predict
from plusx.deploy.server.settings import Settings

INLINE = 2**18
"""Bytes of a body that is taken apart on the event loop; a larger one would keep other requests waiting."""


def create_app(
    models: Models, settings: Settings = Settings(), *, failed: Callable[[Exception], None] | None = None
) -> FastAPI:
    """The application that answers for some models. It loads those that are not loaded while it already answers.

    Args:
        models: What is served; `request.app.state.models` gives it to every endpoint.
        settings: What is allowed.
        failed: Called with the fault where a model cannot be loaded at the beginning.
    """
    metrics, held = Metrics(), Held(settings.all_bodies_bytes)

    async def load_and_watch() -> None:
        try:
            if not models.is_ready:
                await asyncio.to_thread(models.load)
        except Exception as fault:
            if failed is None:
                raise
            failed(fault)
        else:
            await models.watch()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with models.running():
            task = asyncio.create_task(load_and_watch())
            yield
            task.cancel()

    app = FastAPI(
        title="plusx",
        description="Image classifiers that plusx trained.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.models, app.state.settings = models, settings
    app.add_middleware(Guard, settings=settings, answered=metrics.answered)
    _answer_faults(app)

    @app.get("/healthz", response_model=described.Health, responses=described.faults())
    async def healthz() -> Response:
        """Whether the server answers at all."""
        return as_json({"status": "ok"})

    @app.get("/readyz", response_model=described.Health, responses=described.faults(503))
    async def readyz() -> Response:
        """Whether every model is loaded and requests are taken."""
        if models.is_ready:
            return as_json({"status": "ready"})
        raise Fault(503, "ending" if models.draining else "still loading", {"Retry-After": "1"})

    @app.get("/metrics", response_class=Response, responses=described.faults())
    async def metrics_text() -> Response:
        """Counters in the text format of Prometheus."""
        return Response(metrics.text(models), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        headers = {"content-security-policy": described.PAGE_POLICY}
        return Response(described.page(app.openapi()), media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/v1/models", response_model=described.ModelList, responses=described.faults(503))
    async def list_models() -> Response:
        """The models that are served; the first is the default."""
        return as_json({"models": [model.summary() for model in models]})

    @app.get("/v1/models/{name}", response_model=described.ModelDetails, responses=described.faults(404, 503))
    async def get_model(name: str) -> Response:
        """A model, and the card of its run."""
        return as_json(models.find(name).details())

    @asynccontextmanager
    async def asked_by(request: Request, fields: tuple[str, ...]) -> AsyncIterator[Asked]:
        if models.is_full:  # before the body is read, which costs more than to refuse it
            raise Fault(503, "the server is busy; try again", {"Retry-After": "1"})
        async with received(request, settings, held) as body:
            how = (request.headers.get("content-type", ""), body, settings, fields)
            yield take_apart(*how) if len(body) <= INLINE else await asyncio.to_thread(take_apart, *how)

    @app.post(
        "/v1/predict",
        response_model=described.Predictions,
        responses=described.faults(404, 408, 413, 415, 422, 503),
        openapi_extra=described.body_of(settings.images, {"top_k": described.TOP_K, "model": described.MODEL}),
    )
    async def predict_images(request: Request) -> Response:
        """The most probable classes of images, sent as a form with the field files or as JSON in base64."""
        async with asked_by(request, FIELDS) as asked:
            content = await predict(models, asked, settings)
        for each in content["predictions"]:
            metrics.image(content["model"], "bad" if "error" in each else "predicted")
        match content["predictions"]:
            case [{"file": name, "error": reason}]:
                raise Fault(422, f"{name}: {reason}")
        return as_json(content)

    @app.post(
        "/v1/explain",
        response_model=described.Explained,
        responses=described.faults(404, 408, 413, 415, 422, 503),
        openapi_extra=described.body_of(
            1, {"model": described.MODEL, "class": described.CLASS, "method": described.METHOD}
        ),
    )
    async def explain_image(request: Request) -> Response:
        """Which places of an image speak for a class, and what each block of the net contributes to it."""
        async with asked_by(request, explaining.FIELDS) as asked:
            return as_json(await explaining.explain(models, asked, settings))

    app.include_router(view.router)
    return app


def _answer_faults(app: FastAPI) -> None:
    """Every refusal as {"error": "one sentence"}."""

    async def fault(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, Fault)
        return fault.response()

    async def of_http(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        sentences = {404: "there is nothing under this address", 405: "this address has no such method"}
        return Fault(fault.status_code, sentences.get(fault.status_code, str(fault.detail)), fault.headers).response()

    async def of_validation(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, RequestValidationError)
        where = fault.errors()[0]
        return Fault(400, f"{where['loc'][-1]}: {where['msg']}").response()

    async def gone(request: Request, fault: Exception) -> Response:
        return Fault(400, "the client is gone").response()

    async def defect(request: Request, fault: Exception) -> Response:
        return Fault(500, "a defect of the server; its log says more").response()

    handlers: dict[Any, Any] = {
        Fault: fault,
        HTTPException: of_http,
        RequestValidationError: of_validation,
        ClientDisconnect: gone,
        Exception: defect,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
