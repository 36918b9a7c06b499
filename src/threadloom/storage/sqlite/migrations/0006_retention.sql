-- Runs by their end, for those that are kept only for a while.

CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
