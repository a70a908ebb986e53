"""Parameters of the hot routes, read by hand and documented from the same list.

FastAPI's own way (annotations, pydantic) costs 0.2 ms a request, a seventh of a whole feed; this one 0.01. Errors have the same form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from fastapi import Request

from serving.problems import Problem

Kind = Literal["integer", "number", "boolean", "string", "ids"]
BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class Param(NamedTuple):
    """One query parameter."""

    name: str
    kind: Kind
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    """bounds of numbers; of strings the longest length"""

    def read(self, text: str) -> Any:
        """Raises `ValueError`, which says what is wanted."""
        if self.kind == "string":
            if self.high is not None and len(text) > self.high:
                raise ValueError(f"at most {self.high:g} characters")
            return text
        if self.kind == "boolean":
            if (known := BOOLEANS.get(text.lower())) is None:
                raise ValueError("wants true or false")
            return known
        try:
            value = int(text[:30]) if self.kind == "integer" else float(text)  # cut: no number of ours is longer
        except ValueError:
            raise ValueError(f"wants {'an integer' if self.kind == 'integer' else 'a number'}") from None
        if not isfinite(value) or (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise ValueError(f"wants {self.low:g} to {self.high:g}" if self.high is not None else f"wants {self.low:g} or more")
        return value

    def document(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        schema: dict[str, Any]
        if self.kind == "ids":
            schema = {"type": "array", "items": {"type": "string"}}
        else:
            schema = {"type": self.kind}
            if self.default not in (None, ""):
                schema["default"] = self.default
            bounds = ("maxLength",) if self.kind == "string" else ("minimum", "maximum")
            for name, bound in zip(bounds, (self.high,) if self.kind == "string" else (self.low, self.high), strict=True):
                if bound is not None:
                    schema[name] = int(bound)
        return {"name": self.name, "in": "query", "required": False, "description": self.description, "schema": schema}


class Params:
    """The query parameters of one route."""

    def __init__(self, *params: Param) -> None:
        self.params = {param.name: param for param in params}
        self.defaults = {param.name: [] if param.kind == "ids" else param.default for param in params}

    def read(self, request: Request) -> dict[str, Any]:
        """Every parameter's value or default; unknown ones are ignored, of repeated ones the last counts. Raises a 422."""
        values = dict(self.defaults)
        query: bytes = request.scope["query_string"]
        if not query:
            return values
        errors: list[dict[str, str]] = []
        for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            param = self.params.get(name)
            if param is None or (not text and param.kind != "string"):
                continue
            if param.kind == "ids":
                values[name] = values[name] + [one for one in text.split(",") if one]
                continue
            try:
                values[name] = param.read(text)
            except ValueError as error:
                errors.append({"field": f"query.{name}", "message": str(error)})
        if errors:
            raise Problem(422, "invalid", "; ".join(f"{e['field']}: {e['message']}" for e in errors), errors=errors)
        return values

    def document(self, path: Mapping[str, str]) -> dict[str, Any]:
        """For `openapi_extra`; `path`: names and descriptions of the parameters in the path."""
        of_path: Sequence[dict[str, Any]] = [
            {
                "name": name, "in": "path", "required": True, "description": text,
                "schema": {"type": "string", "minLength": 1, "maxLength": 128},
            }
            for name, text in path.items()
        ]  # fmt: skip
        return {"parameters": [*of_path, *(param.document() for param in self.params.values())]}


CURSOR = Param("cursor", "string", None, "`next_cursor` of the page before", high=4096)
AFTER = Param("after", "string", None, "`position` of a POST: waits up to 250 ms until the answer contains it", high=16384)
COUNT = Param("n", "integer", 20, "how many items; at most `feed.n_max` of the settings, 50 by default", 1)
CHANNEL = Param("channel", "string", "", "only this channel and those below it", high=128)
CITY = Param("city", "string", "", "only this city", high=128)
LAT = Param("lat", "number", None, "where the user is", -90, 90)
LON = Param("lon", "number", None, "where the user is", -180, 180)
EXCLUDE = Param("exclude", "ids", None, "note ids that must not come: repeated, or separated by commas")
EXPLAIN = Param("explain", "boolean", False, "tell what brought each item, and what its score is made of")
ASKER = Param("user_id", "string", "", "who asks: leaves out what he blocked or hid, and logs the slate", high=128)
