-- How urgent the runs of a thread are, once that was decided, and each run: the smallest number goes first.

ALTER TABLE threads ADD COLUMN priority INTEGER;
ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_queue ON runs (priority, due, seq) WHERE status = 'pending';
