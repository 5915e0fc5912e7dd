"""What an annotation file says of itself: whether it holds only a part of what was annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY = "annotation_set"
COMPLETION = "completion"


def stated_set(info: Mapping[str, Any]) -> str:
    """Name the annotation set that a file says it is, as ``siod data annotate`` writes it down.

    Files that are split, shrunk, repaired or imported keep what their sources said, at any depth.

    Args:
        info: The file's ``info`` entry.

    Returns:
        The policy as the command line names it, or ``hidden instances``; empty where the file says nothing, or that
        it is full.

    Example:
        >>> stated_set({"import": {"sources": [{"infos": [{"annotation_set": {"policy": "keep", "k": 1}}]}]}})
        'keep-1'
        >>> stated_set({"description": "converted from VOC"})
        ''
        >>> stated_set({"completion": {"source_info": {"annotation_set": {"policy": "keep", "k": 1}}}})
        'completed keep-1'
    """
    return next((name for account in _accounts(info) if (name := _name(account))), "")


def _accounts(entry: Any) -> Iterator[Any]:
    """Every account of an annotation set in some plain data, the outermost first."""
    if isinstance(entry, dict):
        if KEY in entry:
            yield entry[KEY]
        if COMPLETION in entry and (before := stated_set({"source": entry[COMPLETION]})):
            # Some of what was hidden has its box now.
            yield {"policy": f"completed {before.removeprefix('completed ')}"}
        entry = list(entry.values())
    if isinstance(entry, list):
        for part in entry:
            yield from _accounts(part)


def _name(account: Any) -> str:
    policy = account.get("policy") if isinstance(account, dict) else None
    if not isinstance(policy, str) or policy == "full":
        return ""
    if account.get("holds"):
        return str(account["holds"])
    setting = account.get({"keep": "k", "saod": "level", "missing": "fraction"}.get(policy, ""))
    return policy if setting is None else f"{policy}-{setting}"
