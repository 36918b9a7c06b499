-- The runs of an assistant, for the list of its tasks.

CREATE INDEX runs_assistant ON runs (assistant_id, seq);
