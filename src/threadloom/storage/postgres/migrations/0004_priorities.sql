-- How urgent the runs of a thread are, once that was decided, and each run: the smallest number goes first.

ALTER TABLE threads ADD COLUMN priority smallint;
ALTER TABLE runs ADD COLUMN priority smallint NOT NULL DEFAULT 0;
CREATE INDEX runs_queue ON runs (priority, ready, seq) WHERE ready IS NOT NULL;

CREATE OR REPLACE FUNCTION tl_claim(
    fence_owner text, now bigint, lease_end bigint, most integer, attempts_from integer, attempts_below integer
) RETURNS SETOF runs
LANGUAGE plpgsql
AS $$
    -- Takes the runs that are next and due, the most urgent first, of threads that nobody is changing: who does is asked for
    -- nothing, and waited for by nobody. What was found is looked at again once its thread is locked.
DECLARE
    candidate record;
    taken runs;
    count integer := 0;
    level smallint := -32768;
    seen_ready bigint;
    seen_seq bigint;
BEGIN
    LOOP
        -- One priority after the other: runs of one that are not due yet must not be walked past to get to the next.
        SELECT min(priority) INTO level FROM runs WHERE ready IS NOT NULL AND priority > level;
        IF level IS NULL THEN
            RETURN;
        END IF;
        seen_ready := -9223372036854775808;
        seen_seq := 0;
        LOOP
            FOR candidate IN
                SELECT run_id, thread_id, ready, seq FROM runs
                WHERE priority = level AND ready <= now AND (ready, seq) > (seen_ready, seen_seq)
                  AND attempt >= attempts_from AND (attempts_below IS NULL OR attempt < attempts_below)
                ORDER BY ready, seq LIMIT 100
            LOOP
                seen_ready := candidate.ready;
                seen_seq := candidate.seq;
                CONTINUE WHEN NOT pg_try_advisory_xact_lock(tl_key(candidate.thread_id));
                -- Of a thread's runs that nothing stands before, the first made that is due.
                CONTINUE WHEN candidate.seq IS DISTINCT FROM (
                    SELECT min(seq + 0) FROM runs WHERE thread_id = candidate.thread_id AND ready <= now);
                FOR taken IN SELECT * FROM tl_take(candidate.run_id, fence_owner, now, lease_end) LOOP
                    count := count + 1;
                    RETURN NEXT taken;
                END LOOP;
                IF count >= most THEN
                    RETURN;
                END IF;
            END LOOP;
            EXIT WHEN NOT FOUND;
        END LOOP;
    END LOOP;
END
$$;
