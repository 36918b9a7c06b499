"""A server on the app of the risk tests."""

from pathlib import Path

APP = Path(__file__).parents[1] / "apps" / "risk"
