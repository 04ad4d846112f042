"""LitServe as a peer of the server; its worker process imports this module again, so nothing here may be local."""

from pathlib import Path
from typing import Any

import litserve
from fastapi import Request, Response

from benchmarks.serving_peers import answer_of
from plusx.deploy.predictor import Predictor
from plusx.placement.inference.backend import BATCH

TIMEOUT = 0.002
"""Seconds for which it waits for more images."""


class Api(litserve.LitAPI):  # type: ignore[misc]
    """A run, read and computed by plusx's own predictor, in LitServe's batches."""

    def setup(self, device: str) -> None:
        """Load the run that `serve` names."""
        self.predictor = Predictor(self.run)

    def decode_request(self, request: Request) -> Any:
        """The pixels of an image. The annotation tells LitServe to read the form, and the form is what it gives."""
        return self.predictor.card.preprocess.pixels(request["files"].file.read())

    def batch(self, inputs: list[Any]) -> list[Any]:
        """As they are: the predictor puts them together."""
        return inputs

    def predict(self, inputs: list[Any]) -> list[dict[str, Any]]:
        """The answers to a batch."""
        return [answer_of(each) for each in self.predictor.predict_pixels(inputs)]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are."""
        return output

    def encode_response(self, output: dict[str, Any]) -> Response:
        """As it is. The annotation keeps FastAPI from looking through it once more."""
        return output  # type: ignore[return-value]


def serve(run: Path, port: int) -> None:
    """Serve a run until the process ends."""
    api = Api(max_batch_size=2 * BATCH, batch_timeout=TIMEOUT, api_path="/v1/predict")
    api.run = run
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")
