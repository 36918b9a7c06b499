"""Selects namespaces for a listing."""

from collections.abc import Sequence

from langgraph.store.base import ListNamespacesOp, MatchCondition

Namespace = tuple[str, ...]


def beginning(op: ListNamespacesOp) -> Namespace:
    """Returns the labels that every matching namespace begins with.

    Raises:
        ValueError: a condition is neither a prefix nor a suffix; depth or page is not valid.
    """
    if op.limit < 0 or op.offset < 0:
        raise ValueError(f"limit and offset must not be negative (got {op.limit} and {op.offset})")
    if op.max_depth is not None and op.max_depth < 1:
        raise ValueError(f"max_depth must be at least 1 (got {op.max_depth})")
    fixed: Namespace = ()
    for condition in op.match_conditions or ():
        if condition.match_type == "prefix":
            path = tuple(condition.path)
            fixed = max(fixed, path[: path.index("*")] if "*" in path else path, key=len)
        elif condition.match_type != "suffix":
            raise ValueError(f"Unsupported match type: {condition.match_type}")
    return fixed


def page(namespaces: Sequence[Namespace], op: ListNamespacesOp) -> list[Namespace]:
    """Returns one page of the matching namespaces, truncated to the depth and without duplicates. `namespaces` must be sorted."""
    wanted = op.match_conditions or ()
    matching = (namespace for namespace in namespaces if all(_matches(one, namespace) for one in wanted))
    # Truncating keeps the order.
    cut = dict.fromkeys(namespace[: op.max_depth] for namespace in matching)
    return list(cut)[op.offset : op.offset + op.limit]


def _matches(condition: MatchCondition, namespace: Namespace) -> bool:
    path = tuple(condition.path)
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(label in ("*", there) for label, there in zip(path, part, strict=True))
