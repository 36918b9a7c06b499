"""The limit on attempts of a run whose worker is lost."""

import msgspec

from threadloom.types import Run


class Attempts(msgspec.Struct, frozen=True):
    """Decides which attempt of a run is the last. Attempts count from 1; `attempt` of a pending run is the number of past
    attempts.

    Attributes:
        most: the maximum number of attempts of a run (`BG_JOB_MAX_RETRIES`).
    """

    most: int

    def is_last(self, run: Run) -> bool:
        """Returns whether the run's current attempt, or the one whose worker was lost, is its last."""
        return run.attempt >= self.most

    def is_risky(self, run: Run) -> bool:
        """Returns whether the run is in its last attempt after workers were lost in earlier ones: the run may be what kills
        workers.
        """
        return self.is_last(run) and self.most > 1

    @property
    def before_last(self) -> int | None:
        """The number of past attempts of a pending run whose next attempt is risky; None: no attempt is risky."""
        return self.most - 1 if self.most > 1 else None

    def may_call_graph(self, run: Run) -> bool:
        """Returns whether a run without attempts left may have its graph called once more, to read the final state."""
        return run.attempt <= self.most + 1
