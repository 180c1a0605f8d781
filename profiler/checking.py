"""Values from outside, a file or a frame, checked to be what they are taken for."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from netadapt.profiler.errors import TableError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def checked(
    kind: Any,
    value: Any,
    what: str,
    *,
    as_json: bool = False,
    remedy: str = "delete it and profile again",
) -> Any:
    """`value` as a `kind`, any type or dataclass; read from JSON or made of Python's values.

    Raises `TableError` that names `what`.
    """
    from pydantic import ValidationError

    adapter = _adapter(kind)
    try:
        if as_json:
            return adapter.validate_json(value, strict=True)
        if _has_bytes(value):
            raise TypeError("bytes stand where text or a number belongs")
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(what, f"{where}: {first['msg']}".lstrip(": "), remedy) from error
    except TypeError as error:  # also JSON that is no text at all
        raise damaged(what, str(error), remedy) from error


def damaged(what: str, why: str, remedy: str = "delete it and profile again") -> TableError:
    """The error for `what`, which is not what it should be."""
    return TableError(f"{what} of the latency table is damaged ({why}); {remedy}")


def _has_bytes(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else ()
    return isinstance(value, bytes) or any(map(_has_bytes, parts))


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
