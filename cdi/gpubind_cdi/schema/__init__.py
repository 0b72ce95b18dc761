# SPDX-License-Identifier: Apache-2.0
"""CDI 1.1.0 as a JSON schema of our own: the only module that knows jsonschema.

For `gpubind cdi validate` and for other people's editors. It says what a document may hold and
where; rules that compare fields are in `gpubind_cdi.validate`. Importing jsonschema takes 70 ms.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from gpubind.errors import DocumentError
from gpubind_cdi.fields import Plain, truth, whole_number

FILE = os.path.join(os.path.dirname(__file__), "cdi-1.1.0.json")


def problems(document: Any) -> list[DocumentError]:
    """Give all places where a loaded document breaks the schema, in the document's order."""
    errors = _validator().iter_errors(_typed(document, schema()))
    return [
        DocumentError(error.message[:300], path=_place(error.absolute_path))
        for error in sorted(errors, key=lambda error: [str(step) for step in error.absolute_path])
    ]


@functools.cache
def schema() -> dict[str, Any]:
    """Give the schema itself."""
    import json

    with open(FILE, encoding="utf-8") as file:
        loaded: dict[str, Any] = json.load(file)
    return loaded


@functools.cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft7Validator(schema())


def _place(steps: Any) -> str:
    return "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps
    ).removeprefix(".")


def _typed(value: Any, wanted: dict[str, Any]) -> Any:
    """Give a document whose unquoted scalars have the type that the schema wants there."""
    wanted = _resolved(wanted)
    if isinstance(value, dict):
        known = wanted.get("properties", {})
        return {
            name: _typed(item, known.get(name, {}))
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_typed(item, wanted.get("items", {})) for item in value]
    if isinstance(value, Plain):
        return _scalar(value, wanted.get("type"))
    return value


def _resolved(wanted: dict[str, Any]) -> dict[str, Any]:
    if "allOf" in wanted:
        wanted = wanted["allOf"][0]
    if "$ref" in wanted:
        wanted = schema()["definitions"][wanted["$ref"].rpartition("/")[2]]
    return wanted


def _scalar(value: Plain, wanted: object) -> object:
    if wanted == "integer":
        known = whole_number(value)
        return str(value) if known is None else known
    if wanted == "boolean":
        try:
            return truth(value)
        except DocumentError:
            return str(value)
    return str(value)
