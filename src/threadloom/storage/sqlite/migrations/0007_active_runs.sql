-- Runs that are still to end, and outcomes by thread: both are asked for with every run, however many have ended.

CREATE INDEX runs_active ON runs (thread_id, seq) WHERE status IN ('pending', 'running');
CREATE INDEX outcomes_thread ON outcomes (thread_id);
