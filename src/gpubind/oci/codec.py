# SPDX-License-Identifier: Apache-2.0
"""JSON without the `json` package, which pulls `re` and `enum` and costs 6 ms at every start.

The C scanner and encoder of `_json` are what `json` itself uses. They are private, so where their
signature differs, `json` is loaded and does the same.
"""

from __future__ import annotations

from gpubind.errors import DocumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SPACE = " \t\n\r"


def decode(data: bytes, name: str) -> Any:
    """Give the value of a JSON document; `name` is its file, for the message.

    Raises DocumentError with the line for broken JSON, duplicate keys, NaN and infinities, text
    after the document, and nesting too deep (RFC 8259).
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(f"byte {error.start} is not UTF-8", name) from None
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise _wrong("the file is empty", name)
    try:
        value, end = _scan(text, start)
    except RecursionError:
        raise _wrong("nested too deeply", name) from None
    except DocumentError as error:
        raise error.of(name) from None
    except ValueError as error:
        raise _wrong(f"broken JSON: {error}", name) from None
    if text[end:].strip(_SPACE):
        raise _wrong(f"text after the end of the document, line {_line(text, end)}", name)
    return value


def encode(value: object) -> bytes:
    """Give a document's compact JSON as UTF-8, ending in a newline.

    Raises DocumentError for what JSON has no form for.
    """
    try:
        return ("".join(_encoder()(value, 0)) + "\n").encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(f"not to be written as JSON: {error}") from None


def _wrong(message: str, name: str) -> DocumentError:
    return DocumentError(message, file=name)


def _scan(text: str, start: int) -> tuple[Any, int]:
    """Give the value at `start` and where it ends; what is broken is a ValueError that says so.

    The scanner's error is a class of `json`: where that is not loaded, it can't say what is wrong.
    """
    try:
        return _scanner()(text, start)
    except (StopIteration, SystemError):
        import json

        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant), len(text)


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DocumentError(f"duplicate key {key!r}")
            seen.add(key)
    return value


def _constant(word: str) -> None:
    raise DocumentError(f"{word} is no JSON number")


class _Context:
    """What `_json.make_scanner` reads from a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_pairs)
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner clears it after each document


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    try:
        import _json

        return _json.make_scanner(_Context)  # type: ignore[arg-type] # it reads attributes only
    except (ImportError, AttributeError, TypeError):
        import json

        decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
        return decoder.raw_decode


def _encoder() -> Callable[[object, int], Any]:
    try:
        import _json

        return _json.make_encoder(
            {}, _refuse, _json.encode_basestring, None, ":", ",", False, False, False
        )
    except (ImportError, AttributeError, TypeError):
        import json

        encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return lambda value, _: encoder.iterencode(value)


def _refuse(value: object) -> None:
    raise TypeError(type(value).__name__)
