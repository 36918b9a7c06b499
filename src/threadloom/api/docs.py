"""Writes `docs/api.md`: `python -m threadloom.api.docs > docs/api.md`."""

import sys
from pathlib import Path
from typing import Any, cast

from threadloom.api import openapi
from threadloom.api.app import api_operations
from threadloom.api.describe import markdown
from threadloom.api.metrics import Metrics
from threadloom.api.process_info import ProcessInfo
from threadloom.api.routing import Operation
from threadloom.api.system import SystemRoutes
from threadloom.api.ui import UiRoutes
from threadloom.config.settings import Settings
from threadloom.services import Services


def all_operations() -> list[Operation]:
    """Returns every route of a server with default settings. Their handlers cannot be called: there are no services."""
    settings = Settings(root=Path(), graphs={}, data=Path())
    process_info = ProcessInfo(details=_no_details)
    system = SystemRoutes(settings, process_info, Metrics(), dict)
    return [*system.operations(), *api_operations(cast(Services, None)), *UiRoutes({}, "").operations()]


async def _no_details() -> dict[str, Any]:
    return {}


def document() -> dict[str, Any]:
    """Returns the OpenAPI description of a server with default settings."""
    return openapi.document(all_operations())


if __name__ == "__main__":
    sys.stdout.write(markdown(document()))
