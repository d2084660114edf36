"""Going through the values of a model, and putting others in their places."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, SecretStr

from apigateway.config.document import pointer_to
from apigateway.config.fields import PathMark, key_of, models_in

M = TypeVar("M", bound=BaseModel)
Leaf = str | SecretStr
Visit = Callable[[str, Leaf, PathMark | None], Leaf]


def replaced(model: M, visit: Visit, *, pointer: str = "", paths_only: bool = False) -> M:
    """The model with every text and secret in it as `visit(pointer, text, mark)` returns it.

    mark: how the field says that its texts are paths, or None. paths_only: fields without a mark, here and
    further in, are passed over. Models are frozen: what changed is copied, the rest is shared.
    """
    changes = {}
    for name, alias, mark, leads_to_paths in _fields(type(model)):
        if paths_only and not leads_to_paths:
            continue
        old = getattr(model, name)
        new = _replaced(old, visit, f"{pointer}{pointer_to(alias)}", mark, paths_only)
        if new is not old:
            changes[name] = new
    return model.model_copy(update=changes) if changes else model


def _replaced(value: Any, visit: Visit, pointer: str, mark: PathMark | None, paths_only: bool) -> Any:
    if isinstance(value, str | SecretStr):
        return visit(pointer, value, mark)
    if isinstance(value, BaseModel):
        return replaced(value, visit, pointer=pointer, paths_only=paths_only)
    if isinstance(value, dict):
        new = {k: _replaced(v, visit, pointer + pointer_to(k), mark, paths_only) for k, v in value.items()}
        return new if any(new[k] is not value[k] for k in value) else value
    if isinstance(value, list | tuple):
        items = [_replaced(v, visit, f"{pointer}/{i}", mark, paths_only) for i, v in enumerate(value)]
        same = all(a is b for a, b in zip(items, value, strict=True))
        return value if same else type(value)(items)
    return value


@cache
def _fields(model: type[BaseModel]) -> tuple[tuple[str, str, PathMark | None, bool], ...]:
    return tuple(
        (name, key_of(name, field), _mark((field.annotation, *field.metadata)), _leads_to_paths(field))
        for name, field in model.model_fields.items()
    )


def _mark(parts: tuple[Any, ...]) -> PathMark | None:
    for part in parts:
        if isinstance(part, PathMark):
            return part
        if found := _mark((*get_args(part), *getattr(part, "__metadata__", ()))):
            return found
    return None


def _leads_to_paths(field: Any) -> bool:
    # Models may hold themselves (rules inside of rules), so those seen are kept.
    waiting: list[Any] = [field]
    seen: set[type[BaseModel]] = set()
    while waiting:
        part = waiting.pop()
        if _mark((part.annotation, *part.metadata)):
            return True
        new = set(models_in(part.annotation)) - seen
        seen |= new
        waiting += [inner for model in new for inner in model.model_fields.values()]
    return False
