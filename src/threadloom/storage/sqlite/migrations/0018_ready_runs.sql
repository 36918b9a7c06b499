-- The next run of each thread is marked, so that finding it costs the same however many wait behind it, and a run that waits for
-- its time is told apart from one that does not: only the former looks at the clock.

ALTER TABLE runs ADD COLUMN delayed_at INTEGER;         -- of a pending run that waits until `due`: when that was reckoned
ALTER TABLE runs ADD COLUMN ready INTEGER NOT NULL DEFAULT 0;   -- its thread's next: 1 while nothing of the thread runs

UPDATE runs SET delayed_at = created_at WHERE status = 'pending' AND due > created_at;
UPDATE runs SET ready = 1
WHERE seq IN (SELECT min(seq) FROM runs WHERE status = 'pending' AND delayed_at IS NULL GROUP BY thread_id)
  AND thread_id NOT IN (SELECT thread_id FROM runs WHERE status = 'running');

DROP INDEX runs_pending;
DROP INDEX runs_queue;
CREATE INDEX runs_ready ON runs (priority, seq) WHERE ready = 1;
CREATE UNIQUE INDEX runs_ready_of_thread ON runs (thread_id) WHERE ready = 1;
CREATE INDEX runs_delayed ON runs (due, seq) WHERE delayed_at IS NOT NULL;
CREATE INDEX runs_pending_of_user ON runs (user_id, thread_id) WHERE status = 'pending';
CREATE INDEX runs_waiting ON runs (thread_id, seq) WHERE status = 'pending' AND delayed_at IS NULL;
