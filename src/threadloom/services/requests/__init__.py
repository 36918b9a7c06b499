"""What clients may ask for: one struct a request body, with the API's names, defaults and limits.

`UNSET` means the field was not in the body; where None is in the type, `null` is a value of its own. What can be told
from the body alone is checked here, and ids are stored in canonical spelling, so that services need no second look.
Errors raised: `msgspec.ValidationError` for a wrong shape, `errors.Invalid` (422) and a few 400s for the rest.
"""

from threadloom.services.requests.assistants import (
    AssistantCount,
    AssistantCreate,
    AssistantLatest,
    AssistantPatch,
    AssistantSearch,
    AssistantVersions,
)
from threadloom.services.requests.common import BadLabel, canonical, check_labels, state_fields
from threadloom.services.requests.crons import CronCount, CronCreate, CronPatch, CronSearch
from threadloom.services.requests.runs import CancelRuns, RunCreate
from threadloom.services.requests.store import ItemDelete, ItemNamespaces, ItemPut, ItemSearch
from threadloom.services.requests.threads import (
    HistoryQuery,
    NodeUpdate,
    StateAt,
    StateUpdate,
    Superstep,
    ThreadCopy,
    ThreadCount,
    ThreadCreate,
    ThreadPatch,
    ThreadPrune,
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
    "ThreadCopy",
    "ThreadCount",
    "ThreadCreate",
    "ThreadPatch",
    "ThreadPrune",
    "ThreadSearch",
    "ThreadTtl",
    "canonical",
    "check_labels",
    "state_fields",
]
