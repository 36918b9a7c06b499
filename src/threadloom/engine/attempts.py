"""How often a run is tried when its worker is lost."""

import msgspec

from threadloom.types import Run


class Attempts(msgspec.Struct, frozen=True):
    """The rule which attempt of a run is its last. Attempts count from 1; a run that waits has those behind it that were made.

    Attributes:
        most: attempts that a run may take (`BG_JOB_MAX_RETRIES`).
    """

    most: int

    def is_last(self, run: Run) -> bool:
        """Whether no other attempt follows the one that a run is in, or was in when its worker was lost."""
        return run.attempt >= self.most

    def is_risky(self, run: Run) -> bool:
        """Whether a run is in its last attempt after others whose worker was lost: it may be what kills workers."""
        return self.is_last(run) and self.most > 1

    @property
    def before_last(self) -> int | None:
        """How many attempts a waiting run has behind it when the next one is risky; None: none ever is."""
        return self.most - 1 if self.most > 1 else None

    def may_call_graph(self, run: Run) -> bool:
        """Whether a run whose attempts are used up may have its graph called once more, to read the state that it left."""
        return run.attempt <= self.most + 1
