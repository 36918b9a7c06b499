-- What a thread stored after a moment, in whatever namespace: a page of all of it, the end that is cut off, the runs since.

CREATE INDEX cks_pos ON cks (seg, pos);

CREATE INDEX writes_pos ON writes (seg, pos);

DROP INDEX run_spans_thread;
CREATE INDEX run_spans_thread ON run_spans (thread_id, first);
