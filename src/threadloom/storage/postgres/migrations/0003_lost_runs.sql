-- However many runs were lost at once, a look takes up some of them: each costs a lock until the look is over.

CREATE OR REPLACE FUNCTION tl_expired(moment bigint) RETURNS SETOF runs
LANGUAGE plpgsql
AS $$
    -- Up to 200 running runs whose lease is over, of threads that nobody is changing; those threads are locked then.
DECLARE
    candidate record;
    locked integer := 0;
BEGIN
    FOR candidate IN
        SELECT run_id, thread_id FROM runs WHERE status = 'running' AND (moment IS NULL OR lease < moment) ORDER BY seq
    LOOP
        IF pg_try_advisory_xact_lock(tl_key(candidate.thread_id)) THEN
            RETURN QUERY SELECT * FROM runs
            WHERE run_id = candidate.run_id AND status = 'running' AND (moment IS NULL OR lease < moment);
            locked := locked + 1;
            EXIT WHEN locked = 200;
        END IF;
    END LOOP;
END
$$;
