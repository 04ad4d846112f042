"""The application: what is asked under which address, and what every answer carries."""

from starlette.datastructures import UploadFile

from fastapi import FastAPI, Request, Response

from plusx.data.decode import UndecodableError
from plusx.deploy.server import view
from plusx.deploy.server.faults import Fault, as_json
from plusx.deploy.server.models import Models
from plusx.deploy.server.settings import Settings


def create_app(models: Models, settings: Settings = Settings()) -> FastAPI:
    """The application that answers for some models.

    Args:
        models: What is served; `request.app.state.models` gives it to every endpoint.
        settings: What is allowed.
    """
    app = FastAPI(title="plusx", docs_url=None, redoc_url=None)
    app.state.models, app.state.settings = models, settings

    @app.exception_handler(Fault)
    async def refused(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, Fault)
        return fault.response()

    @app.get("/healthz")
    async def healthz() -> Response:
        return as_json({"status": "ok"})

    @app.get("/v1/models")
    async def list_models() -> Response:
        return as_json({"models": [model.summary() for model in models]})

    @app.post("/v1/predict")
    async def predict(request: Request) -> Response:
        form = await request.form()
        model = models.find(form.get("model"))  # type: ignore[arg-type]
        files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
        raws = [await file.read() for file in files]
        answers = []
        predicted = model.loaded.predictor.predict_many(raws, top_k=int(str(form.get("top_k", 5))))
        for file, each in zip(files, predicted, strict=True):
            if isinstance(each, UndecodableError):
                answers.append({"file": file.filename, "error": each.reason})
                continue
            pairs = zip(each.classes, each.probabilities, strict=True)
            classes = [{"name": name, "probability": probability} for name, probability in pairs]
            answers.append({"file": file.filename, "classes": classes, "unknown": each.unknown, "seconds": 0.0})
        return as_json({"model": model.name, "predictions": answers})

    app.include_router(view.router)
    return app
