"""What OpenAPI says of requests and answers, and the page that shows it.

The endpoints read their bodies themselves, within bounds; these schemas say what they read and answer.
"""

import html
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Error(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="One sentence.")


class ClassProbability(BaseModel):
    """A class and its probability."""

    name: str
    probability: float = Field(ge=0, le=1)


class Answer(BaseModel):
    """What became of one image: classes, best first, or an error."""

    file: str
    classes: list[ClassProbability] | None = None
    unknown: bool | None = Field(None, description="The run has a threshold, and the first probability is below it.")
    seconds: float | None = Field(None, description="From the whole request to its answer.")
    error: str | None = None


class Predictions(BaseModel):
    """The answers to all images, in their order."""

    model: str
    predictions: list[Answer]


class Health(BaseModel):
    """Whether the server answers."""

    status: str


class ModelFacts(BaseModel):
    """A model that is served."""

    name: str
    net: str
    classes: list[str]
    height: int
    width: int
    channels: int
    params: int | None
    macs: int | None
    source: str = Field(description="run or onnx")
    explains: bool
    run: bool
    status: str
    val_error: float | None
    test_error: float | None


class ModelList(BaseModel):
    """The models that are served; the first is the default."""

    models: list[ModelFacts]


class ModelDetails(ModelFacts):
    """A model, and the card of its run."""

    card: dict[str, Any] = Field(description="Without paths of the machine that it was written on.")


class BlockContribution(BaseModel):
    """What a block contributes to the class."""

    name: str
    contribution: float = Field(description="What the logit loses without the block's branch.")


class Explained(BaseModel):
    """Why the net sees a class in an image."""

    model_config = ConfigDict(serialize_by_alias=True)

    model: str
    file: str
    class_: str = Field(alias="class")
    probability: float
    method: str
    note: str = Field(description="What a reader of the map must know, if anything.")
    height: int = Field(description="Of the map.")
    width: int
    map: list[list[float]] = Field(description="From 0 to 1, row by row; it covers the image from edge to edge.")
    png: str = Field(description="The map as a grey image, a data address.")
    image: str = Field(description="What the net saw, a data address.")
    blocks: list[BlockContribution]


WHY = {
    400: "The request cannot be understood.",
    401: "The token is missing, or another.",
    403: "A page of another site asks.",
    404: "There is no such thing.",
    405: "The address has no such method.",
    408: "The body took too long to arrive.",
    413: "The body, or the number of its images, is too large.",
    415: "The body is neither a form nor JSON.",
    421: "The server was asked under a name that is not its own.",
    422: "The only image cannot be read.",
    503: "The server is busy, loading or ending; Retry-After says when to try again.",
}


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an endpoint, for OpenAPI."""
    return {status: {"model": Error, "description": WHY[status]} for status in sorted((400, 401, 403, 421, *statuses))}


def body_of(most: int, fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The body of a request with images, for OpenAPI.

    Args:
        most: Images.
        fields: The schemas of other fields.
    """
    form = {
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": most,
            "description": "Files of images.",
        }
    }
    text = {
        "images": {
            "type": "array",
            "items": {"type": "string", "format": "byte"},
            "minItems": 1,
            "maxItems": most,
            "description": "Files of images in base64.",
        },
        "names": {"type": "array", "items": {"type": "string"}, "description": "As many names, which are echoed."},
    }

    def schema(first: dict[str, Any], required: str) -> dict[str, Any]:
        properties = {**first, **fields}
        return {"type": "object", "properties": properties, "required": [required], "additionalProperties": False}

    content = {
        "multipart/form-data": {"schema": schema(form, "files")},
        "application/json": {"schema": schema(text, "images")},
    }
    return {"requestBody": {"required": True, "content": content}}


TOP_K = {"type": "integer", "minimum": 1, "default": 5, "description": "How many classes."}
CLASS = {"type": "string", "description": "The name of a class; the likeliest without it."}
METHOD = {"type": "string", "enum": ["cam", "occlusion", "gradients"], "default": "cam"}
MODEL = {"type": "string", "description": "The name of a model; the first without it."}


def page(schema: dict[str, Any]) -> str:
    """The documentation as a page of its own: no script, nothing from another address.

    Args:
        schema: OpenAPI.
    """
    parts = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>")
            parts.append(f"<p>{html.escape(operation.get('description') or operation.get('summary', ''))}</p>")
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                parts.append(f"<h3>{html.escape(kind)}</h3><dl>")
                for name, field in content["schema"].get("properties", {}).items():
                    parts.append(f"<dt><code>{html.escape(name)}</code></dt><dd>{html.escape(_about(field))}</dd>")
                parts.append("</dl>")
            rows = (
                f"<tr><td>{status}</td><td>{html.escape(answer.get('description', ''))}</td></tr>"
                for status, answer in operation["responses"].items()
            )
            parts.append(f"<table><tr><th>status</th><th></th></tr>{''.join(rows)}</table>")
    schemas = html.escape(json.dumps(schema.get("components", {}).get("schemas", {}), indent=2))
    return _PAGE.format(body="\n".join(parts), schemas=schemas)


def _about(field: dict[str, Any]) -> str:
    kind = field.get("type", "")
    default = f", {field['default']} unless given" if "default" in field else ""
    return f"{kind}{default}. {field.get('description', '')}"


PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>plusx serve: what it answers</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ margin-top: 2.5rem; font-size: 1.1rem; }} h3 {{ font-size: 1rem; margin-bottom: 0; }}
pre {{ overflow: auto; padding: 1rem; border: 1px solid #8886; }} dd {{ margin-left: 1.5rem; }}
td, th {{ text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top; }}
</style></head><body><main>
<h1>What this server answers</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI).</p>
<pre>curl -F files=@cat.jpg http://localhost:8000/v1/predict</pre>
{body}
<h2>Schemas</h2>
<pre tabindex="0">{schemas}</pre>
</main></body></html>
"""
