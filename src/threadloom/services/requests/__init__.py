"""Request bodies: one struct per body, with the API's names, defaults and limits.

`UNSET` means that the field was not in the body; where None is in the type, `null` is a value of its own. What can be checked
from the body alone is checked here, and ids are converted to canonical spelling. Services need not check again. Errors raised:
`msgspec.ValidationError` for a wrong type, `errors.Invalid` (422) and a few 400s for the rest.
"""

from threadloom.services.requests.assistants import (
    AssistantCount,
    AssistantCreate,
    AssistantLatest,
    AssistantPatch,
    AssistantSearch,
    AssistantVersions,
)
from threadloom.services.requests.common import BadLabel, canonical, check_labels, is_tag_name, state_fields
from threadloom.services.requests.crons import CronCount, CronCreate, CronPatch, CronSearch
from threadloom.services.requests.runs import CancelRuns, RunCreate
from threadloom.services.requests.store import ItemDelete, ItemNamespaces, ItemPut, ItemSearch
from threadloom.services.requests.threads import (
    HistoryQuery,
    NodeUpdate,
    StateAt,
    StateUpdate,
    Superstep,
    TagPut,
    ThreadAppend,
    ThreadCopy,
    ThreadCount,
    ThreadCreate,
    ThreadPatch,
    ThreadPromote,
    ThreadPrune,
    ThreadReset,
    ThreadSearch,
    ThreadTtl,
)

__all__ = [
    "AssistantCount",
    "AssistantCreate",
    "AssistantLatest",
    "AssistantPatch",
    "AssistantSearch",
    "AssistantVersions",
    "BadLabel",
    "CancelRuns",
    "CronCount",
    "CronCreate",
    "CronPatch",
    "CronSearch",
    "HistoryQuery",
    "ItemDelete",
    "ItemNamespaces",
    "ItemPut",
    "ItemSearch",
    "NodeUpdate",
    "RunCreate",
    "StateAt",
    "StateUpdate",
    "Superstep",
    "TagPut",
    "ThreadAppend",
    "ThreadCopy",
    "ThreadCount",
    "ThreadCreate",
    "ThreadPatch",
    "ThreadPromote",
    "ThreadPrune",
    "ThreadReset",
    "ThreadSearch",
    "ThreadTtl",
    "canonical",
    "check_labels",
    "is_tag_name",
    "state_fields",
]
