-- The next run of each thread is marked, and a run that waits for its time is told apart from one that does not: only the former
-- looks at the clock. Leases are watched, not compared with a clock.
--
-- Processes of the release before may go on for a while beside this: what they write of `ready` (when a run is due) is read as they
-- mean it, and `tl_expired` stays for them.

DROP INDEX runs_ready;
DROP INDEX runs_ready_of_thread;
DROP INDEX runs_pending_of_thread;
DROP INDEX runs_leases;
DROP INDEX runs_queue;
ALTER TABLE runs ADD COLUMN delayed_at bigint;      -- of a pending run that waits until `due`: when that was reckoned

UPDATE runs SET delayed_at = created_at WHERE status = 'pending' AND due > created_at;
-- From now on: 0 of a thread's next run, while nothing of the thread runs; else NULL.
UPDATE runs SET ready = NULL WHERE ready IS NOT NULL;
UPDATE runs SET ready = 0
WHERE seq IN (SELECT min(seq) FROM runs WHERE status = 'pending' AND delayed_at IS NULL GROUP BY thread_id)
  AND thread_id NOT IN (SELECT thread_id FROM runs WHERE status = 'running');

CREATE INDEX runs_ready ON runs (priority, seq) WHERE ready IS NOT NULL;
CREATE INDEX runs_ready_of_thread ON runs (thread_id) WHERE ready IS NOT NULL;
CREATE INDEX runs_delayed ON runs (due, seq) WHERE delayed_at IS NOT NULL;
-- As with `seq + 0` in 0005: only these indexes fit the queries that ask for the running run of a thread and for its first waiting
-- one. Plans are made once, when the table may be nearly empty and all indexes look alike.
DROP INDEX runs_one_running;
CREATE UNIQUE INDEX runs_one_running ON runs ((thread_id || '')) WHERE status = 'running';
CREATE INDEX runs_waiting ON runs (thread_id, (seq + 0)) WHERE status = 'pending' AND delayed_at IS NULL;

CREATE OR REPLACE FUNCTION tl_ready(thread text) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Marks the next run of a thread, after something of its queue has changed: the first made that waits for nothing but its
    -- turn, while none runs. The caller holds the thread's lock.
DECLARE
    first bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM runs WHERE thread_id || '' = thread AND status = 'running') THEN
        SELECT seq INTO first FROM runs
        WHERE thread_id = thread AND status = 'pending' AND delayed_at IS NULL ORDER BY seq + 0 LIMIT 1;
    END IF;
    IF first IS NOT NULL THEN
        UPDATE runs SET ready = NULL WHERE thread_id = thread AND ready IS NOT NULL AND seq <> first;
        UPDATE runs SET ready = 0 WHERE seq = first AND ready IS DISTINCT FROM 0;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tl_take(run text, fence_owner text, now bigint, lease_end bigint) RETURNS SETOF runs
LANGUAGE plpgsql
AS $$
    -- Makes a pending run running, in the hands of a worker. The caller holds the thread's lock.
DECLARE
    taken runs;
BEGIN
    UPDATE runs SET status = 'running', attempt = attempt + 1, fence = nextval('fences'), worker = fence_owner,
        lease = lease_end, started_at = coalesce(started_at, now), updated_at = now, ready = NULL, delayed_at = NULL
    WHERE run_id = run AND status = 'pending' RETURNING * INTO taken;
    IF taken.seq IS NOT NULL THEN
        UPDATE runs SET ready = NULL WHERE thread_id = taken.thread_id AND ready IS NOT NULL;
        RETURN NEXT taken;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tl_set_run_status(run text, "new status" text, moment bigint, ending bigint) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    old record;
BEGIN
    SELECT thread_id, status, ready INTO old FROM runs WHERE run_id = run;
    UPDATE runs SET status = "new status", updated_at = moment, ended_at = coalesce(ending, ended_at),
        lease = CASE WHEN "new status" = 'running' THEN lease END,
        worker = CASE WHEN "new status" = 'running' THEN worker END,
        fence = CASE WHEN "new status" = 'running' THEN fence ELSE 0 END,
        ready = NULL, delayed_at = NULL
    WHERE run_id = run;
    IF old.status = 'running' OR "new status" = 'pending' OR old.ready IS NOT NULL THEN
        PERFORM tl_ready(old.thread_id);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tl_delete_run(run text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    old record;
BEGIN
    DELETE FROM runs WHERE run_id = run RETURNING thread_id, status, ready INTO old;
    IF old.status = 'running' OR old.ready IS NOT NULL THEN
        PERFORM tl_ready(old.thread_id);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tl_requeue(run text, attempts integer) RETURNS void
LANGUAGE plpgsql
AS $$
    -- The caller holds the thread's lock.
DECLARE
    thread text;
BEGIN
    UPDATE runs SET status = 'pending', attempt = attempts, lease = NULL, worker = NULL, fence = 0
    WHERE run_id = run RETURNING thread_id INTO thread;
    PERFORM tl_ready(thread);
END
$$;

CREATE FUNCTION tl_release(now bigint) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Takes up to 200 runs whose time has come into the queue, of threads that nobody is changing. From then on they wait for
    -- their turn alone, whatever the clock says.
DECLARE
    candidate record;
BEGIN
    FOR candidate IN
        SELECT seq, thread_id FROM runs WHERE delayed_at IS NOT NULL AND due <= now ORDER BY due, seq LIMIT 200
    LOOP
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(tl_key(candidate.thread_id));
        UPDATE runs SET delayed_at = NULL WHERE seq = candidate.seq AND delayed_at IS NOT NULL AND due <= now;
        PERFORM tl_ready(candidate.thread_id);
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION tl_claim(
    fence_owner text, now bigint, lease_end bigint, most integer, attempts_from integer, attempts_below integer
) RETURNS SETOF runs
LANGUAGE plpgsql
AS $$
    -- Takes the runs that are next, the most urgent first, of threads that nobody is changing: who does is asked for nothing, and
    -- waited for by nobody. What was found is looked at again once its thread is locked.
DECLARE
    candidate record;
    taken runs;
    count integer := 0;
    seen_priority smallint := -32768;
    seen_seq bigint := 0;
BEGIN
    PERFORM tl_release(now);
    LOOP
        FOR candidate IN
            SELECT run_id, thread_id, priority, seq FROM runs
            WHERE ready <= now AND (priority, seq) > (seen_priority, seen_seq)
              AND attempt >= attempts_from AND (attempts_below IS NULL OR attempt < attempts_below)
            ORDER BY priority, seq LIMIT 100
        LOOP
            seen_priority := candidate.priority;
            seen_seq := candidate.seq;
            CONTINUE WHEN NOT pg_try_advisory_xact_lock(tl_key(candidate.thread_id));
            CONTINUE WHEN NOT EXISTS (SELECT 1 FROM runs WHERE seq = candidate.seq AND ready <= now);
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
END
$$;

CREATE FUNCTION tl_still_held(run_ids text[], fences bigint[], leases bigint[]) RETURNS SETOF runs
LANGUAGE plpgsql
AS $$
    -- Up to 200 of these runs, as far as their leases have not been renewed since and nobody is changing their threads. Those
    -- threads are locked then, and the runs: who holds one cannot renew its lease meanwhile.
DECLARE
    candidate record;
    locked integer := 0;
BEGIN
    FOR candidate IN
        SELECT r.seq, r.thread_id, r.fence, r.lease
        FROM unnest(run_ids, fences, leases) AS h (run_id, fence, lease)
        JOIN runs r ON r.run_id = h.run_id AND r.fence = h.fence AND r.lease = h.lease
        WHERE r.status = 'running' ORDER BY r.seq
    LOOP
        IF pg_try_advisory_xact_lock(tl_key(candidate.thread_id)) THEN
            RETURN QUERY SELECT * FROM runs
            WHERE seq = candidate.seq AND fence = candidate.fence AND lease = candidate.lease AND status = 'running'
            FOR NO KEY UPDATE;
            locked := locked + 1;
            EXIT WHEN locked = 200;
        END IF;
    END LOOP;
END
$$;
