"""Other ways to serve a run, for `benchmarks.serving`: LitServe, and a plain handler of FastAPI.

    python -m benchmarks.serving_peers litserve|fastapi RUN PORT

Both read images and compute with plusx's own predictor, on the same processors.
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile

from plusx.deploy.predictor import Prediction, Predictor


def answer_of(prediction: Prediction) -> dict[str, Any]:
    """What a server answers."""
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    return {"classes": [{"name": name, "probability": probability} for name, probability in pairs]}


def plain(run: Path) -> FastAPI:
    """A handler as one writes it first: FastAPI runs it in its threads."""
    app, predictor = FastAPI(), Predictor(run)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/predict")
    def predict(files: UploadFile) -> dict[str, Any]:
        return answer_of(predictor.predict(files.file.read()))

    return app


def main() -> None:
    """What the command line names."""
    name, run, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if name == "litserve":
        from benchmarks.serving_litserve import serve

        serve(run, port)
    else:
        uvicorn.run(plain(run), host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
