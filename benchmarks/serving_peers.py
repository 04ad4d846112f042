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
from plusx.placement.inference.backend import BATCH

BATCH_TIMEOUT = 0.002
"""Seconds for which LitServe waits for more images."""


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


def litserve(run: Path, port: int) -> None:
    """LitServe, with its own batches."""
    import litserve

    class Api(litserve.LitAPI):  # type: ignore[misc]
        def setup(self, device: str) -> None:
            self.predictor = Predictor(run)

        def decode_request(self, request: Any) -> Any:
            return self.predictor.card.preprocess.pixels(request["files"].file.read())

        def batch(self, inputs: list[Any]) -> list[Any]:
            return inputs

        def predict(self, inputs: list[Any]) -> list[dict[str, Any]]:
            return [answer_of(each) for each in self.predictor.predict_pixels(inputs)]

        def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return output

        def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
            return output

    api = Api(max_batch_size=2 * BATCH, batch_timeout=BATCH_TIMEOUT, api_path="/v1/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


def main() -> None:
    """What the command line names."""
    name, run, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if name == "litserve":
        litserve(run, port)
    else:
        uvicorn.run(plain(run), host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
