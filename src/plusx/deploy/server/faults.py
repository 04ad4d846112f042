"""What a request is refused with: a status and one sentence."""

import json
from collections.abc import Mapping

from starlette.responses import Response


class Fault(Exception):  # noqa: N818  (an answer, no error of the program)
    """A request cannot be answered; the handler of the application turns it into {"error": ...}.

    Args:
        status: Of HTTP.
        sentence: What is wrong, and what would be right.
        headers: More headers, such as Retry-After.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        return as_json({"error": self.sentence}, status=self.status, headers=self.headers)


def as_json(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON, in UTF-8; what JSON does not know, such as NaN, is a defect of ours."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, headers, "application/json")
