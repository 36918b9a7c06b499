-- Of which living thread each thread is a copy. When that one goes, its copies become copies of what it was a copy of.

ALTER TABLE threads ADD COLUMN copied_from TEXT;
UPDATE threads SET copied_from = forked_from ->> 'thread_id'
WHERE forked_from IS NOT NULL AND (forked_from ->> 'thread_id') IN (SELECT thread_id FROM threads);
CREATE INDEX threads_copies ON threads (copied_from) WHERE copied_from IS NOT NULL;
