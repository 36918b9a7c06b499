-- All functions of the database in their current version. The tables are in migrations/.
--
-- This file is applied whenever it differs from the one that was applied last (storage/postgres/migrate.py), after the migrations
-- and in their transaction. So a function is changed here, in place, without a migration.
--
-- * Each is `CREATE OR REPLACE`, and its name begins with `tl_`; one name stands for one function. Functions of the database that
--   are not in this file are dropped. A function that cannot be replaced, because its result or the names of its parameters
--   changed, is dropped first.
-- * Processes of the previous release may run beside this one for a while and call the functions that they know. A function whose
--   parameters change gets a new name, and the old one stays until the next release.
-- * No migration, index or constraint calls one of these functions, because a later version of them would apply to it.

-- Locks of threads, by their ids.

CREATE OR REPLACE FUNCTION tl_key(thread text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    -- The advisory lock of a thread's records.
    SELECT hashtextextended(thread COLLATE "C", 0)
$$;

CREATE OR REPLACE FUNCTION tl_lineage_key(thread text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    -- The advisory lock of a thread's lineage. A transaction that takes both locks takes that of the records first.
    SELECT hashtextextended(thread COLLATE "C", 1)
$$;

-- Searchable JSON.

CREATE OR REPLACE FUNCTION tl_document(source bytea) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000
AS $$
    -- Converts JSON to the searchable form. `jsonb` cannot store U+0000: see storage/postgres/documents.py for its spelling.
    SELECT replace(replace(convert_from(source, 'UTF8'), '\u0001', '\u00011'), '\u0000', '\u00010')::jsonb
$$;

CREATE OR REPLACE FUNCTION tl_permits(document jsonb, filter jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    -- Whether a searchable document matches a filter as filters.py writes it. It means the same as `storage.filters.permits`.
BEGIN
    CASE filter ->> 0
        WHEN 'equals' THEN
            RETURN coalesce(document -> (filter ->> 1) = filter -> 2, false);
        WHEN 'contains' THEN
            RETURN jsonb_typeof(document -> (filter ->> 1)) = 'array' AND NOT EXISTS (
                SELECT 1 FROM jsonb_array_elements(filter -> 2) AS m (member)
                WHERE NOT EXISTS (
                    SELECT 1 FROM jsonb_array_elements(document -> (filter ->> 1)) AS h (held) WHERE held = member));
        WHEN 'all' THEN
            RETURN NOT EXISTS (SELECT 1 FROM jsonb_array_elements(filter -> 1) AS p (part) WHERE NOT tl_permits(document, part));
        WHEN 'any' THEN
            RETURN EXISTS (SELECT 1 FROM jsonb_array_elements(filter -> 1) AS p (part) WHERE tl_permits(document, part));
        ELSE
            RETURN false;
    END CASE;
END
$$;

-- Writing to the lineage. These functions return the thread's era; NULL when the run does not hold its fence any more.

CREATE OR REPLACE FUNCTION tl_own(thread text, run text, held bigint, known_era bigint, OUT seg bigint, OUT era bigint)
LANGUAGE plpgsql
AS $$
    -- Returns the segment that a thread writes to, created on first use, and its era. It takes the lineage lock, which is held
    -- until the transaction ends. A transaction that ends or takes over the run has to wait until then. No segment: the era is
    -- not `known_era`.
DECLARE
    found_seg bigint;
BEGIN
    IF held IS NOT NULL THEN
        PERFORM 1 FROM runs WHERE run_id = run AND status = 'running' AND fence = held FOR SHARE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(tl_lineage_key(thread));
    LOOP
        SELECT h.seg, h.era INTO found_seg, era FROM heads h WHERE h.thread_id = thread;
        IF FOUND THEN
            IF known_era IS NULL OR known_era = era THEN
                seg := found_seg;
            END IF;
            RETURN;
        ELSIF known_era IS NOT NULL THEN
            era := 0;
            RETURN;
        END IF;
        -- Another transaction may do the same at the same moment. The second one then finds the head of the first.
        found_seg := nextval('positions');
        INSERT INTO segments (id) VALUES (found_seg);
        INSERT INTO heads (thread_id, seg, era) VALUES (thread, found_seg, found_seg) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            DELETE FROM segments WHERE id = found_seg;
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION tl_move_behind(
    own bigint, place bigint, own_ns text, own_id text, early_namespaces text[], early_ids text[]
) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Moves rows that build on a checkpoint, but were stored before it, to positions after it: its own pending writes, and
    -- checkpoints of subgraphs with theirs. So a cut at the checkpoint excludes all of them.
DECLARE
    lower bigint := coalesce((SELECT max(upto) FROM segments WHERE parent = own), 0);
    moving record;
    new bigint;
BEGIN
    FOR moving IN
        SELECT c.pos, true AS is_checkpoint
        FROM unnest(early_namespaces, early_ids) AS e (namespace, id) JOIN checkpoints c ON c.checkpoint_id = e.id AND c.namespace = e.namespace AND c.seg = own
        WHERE c.pos > lower AND c.pos < place
        UNION
        SELECT w.pos, false
        FROM unnest(own_ns || early_namespaces, own_id || early_ids) AS e (namespace, id)
            JOIN writes w ON w.seg = own AND w.checkpoint_id = e.id AND w.namespace = e.namespace
        WHERE w.pos > lower AND w.pos < place
        ORDER BY 1
    LOOP
        new := nextval('positions');
        IF moving.is_checkpoint THEN
            UPDATE checkpoints SET pos = new WHERE pos = moving.pos;
            UPDATE blobs SET pos = new WHERE pos = moving.pos;
        ELSE
            UPDATE writes SET pos = new WHERE pos = moving.pos;
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION tl_put(put lineage_put) RETURNS bigint
LANGUAGE plpgsql
AS $$
    -- Stores a checkpoint, or pending writes. Returns minus the era when the era is not the put's. An ordinary pending write that
    -- exists is not stored again.
DECLARE
    own record := tl_own(put.thread_id, put.run_id, put.fence, put.era);
    place bigint;
BEGIN
    IF own.seg IS NULL THEN
        RETURN -own.era;
    END IF;
    place := nextval('positions');
    IF put.writes IS NULL THEN
        INSERT INTO blobs (id, pos, type, base, number, size, data)
        SELECT b.id, place, b.type, b.base, b.number, b.size, b.data FROM unnest(put.new_blobs) AS b;
        INSERT INTO checkpoints (pos, seg, namespace, checkpoint_id, parent, digests, body_type, body, channels, blobs, small_channels, small_bytes, meta, messages)
        VALUES (place, own.seg, put.namespace, put.checkpoint_id, put.parent, put.digests, put.body_type, put.body, put.channels, put.blobs, put.small_channels,
            put.small_bytes, put.meta, put.messages);
        IF put.early_ids IS NOT NULL THEN
            PERFORM tl_move_behind(own.seg, place, put.namespace, put.checkpoint_id, put.early_namespaces, put.early_ids);
        END IF;
    ELSE
        INSERT INTO writes (pos, seg, namespace, checkpoint_id, task_id, idx, channel, type, data, path, digest)
        SELECT nextval('positions'), own.seg, put.namespace, put.checkpoint_id, w.task_id, w.idx, w.channel, w.type, w.data, w.path, w.digest
        FROM unnest(put.writes) AS w
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN own.era;
        END IF;
    END IF;
    IF put.run_id IS NOT NULL THEN
        INSERT INTO run_spans (run_id, thread_id, first) VALUES (put.run_id, put.thread_id, place) ON CONFLICT DO NOTHING;
    END IF;
    RETURN own.era;
END
$$;

CREATE OR REPLACE FUNCTION tl_put_many(puts lineage_put[]) RETURNS bigint[]
LANGUAGE plpgsql
AS $$
    -- `tl_put` for many, one after the other. All locks are taken first and in one order, so that two such batches cannot
    -- deadlock.
DECLARE
    put lineage_put;
    answers bigint[] := '{}';
BEGIN
    PERFORM 1 FROM runs r
    WHERE r.run_id IN (SELECT p.run_id FROM unnest(puts) AS p WHERE p.fence IS NOT NULL)
    ORDER BY r.run_id FOR SHARE;
    PERFORM pg_advisory_xact_lock_shared(key)
    FROM (SELECT DISTINCT tl_lineage_key(p.thread_id) AS key FROM unnest(puts) AS p ORDER BY 1) k;
    FOREACH put IN ARRAY puts LOOP
        answers := answers || tl_put(put);
    END LOOP;
    RETURN answers;
END
$$;

-- Reading the lineage.

CREATE OR REPLACE FUNCTION tl_path(segments bigint[], bounds bigint[], namespace text, id text, wanted text[])
RETURNS TABLE (place bigint, level integer, missing text[])
LANGUAGE plpgsql STABLE
AS $$
    -- The ancestors of a checkpoint that a chain shows, nearest first, until each wanted channel was found: position, index of
    -- the segment in the chain, and the channels that were not found before.
DECLARE
    following text := id;
    row record;
    is_ancestor boolean := false;
BEGIN
    missing := wanted;
    LOOP
        SELECT c.pos, c.parent, c.channels, c.small_channels, array_position(segments, c.seg) AS level INTO row
        FROM checkpoints c
        WHERE c.checkpoint_id = following AND c.namespace = tl_path.namespace AND c.pos <= bounds[array_position(segments, c.seg)]
        ORDER BY c.pos DESC LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF is_ancestor THEN
            place := row.pos;
            level := row.level;
            RETURN NEXT;
            missing := ARRAY(
                SELECT m FROM unnest(missing) AS m WHERE m <> ALL (row.channels) AND m <> ALL (row.small_channels));
        END IF;
        is_ancestor := true;
        following := row.parent;
        EXIT WHEN following IS NULL OR cardinality(missing) = 0;
    END LOOP;
END
$$;

-- Freeing rows of the lineage. The caller holds the thread's lineage lock exclusively.

CREATE OR REPLACE FUNCTION tl_delete_above(segment bigint, bound bigint) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Deletes the rows of a segment above a position.
BEGIN
    DELETE FROM blobs b USING checkpoints k WHERE k.seg + 0 = segment AND k.pos + 0 > bound AND b.pos = k.pos;
    DELETE FROM checkpoints WHERE seg + 0 = segment AND pos + 0 > bound;
    DELETE FROM writes WHERE seg + 0 = segment AND pos + 0 > bound;
END
$$;

CREATE OR REPLACE FUNCTION tl_collect(segment bigint, most integer) RETURNS boolean
LANGUAGE plpgsql
AS $$
    -- Frees the rows of a segment that lost its head or a child, as far as no thread sees them, and then those of the segments
    -- above it. Returns true if there were more than `most` rows to free: the segment was then recorded as dead, to be freed in
    -- portions.
    --
    -- Two children of one segment may be deleted at the same moment, and each transaction still sees the other child. So the
    -- segment's row is locked before its children are read: the second transaction sees that the first child is deleted. The lock
    -- also blocks copies, which refer to that row.
DECLARE
    edge record;
    lower bigint;
    freed bigint := 4611686018427387904;                -- up to this position rows may have become invisible
BEGIN
    LOOP
        SELECT s.parent, s.upto INTO edge FROM segments s WHERE s.id = segment FOR UPDATE;
        IF NOT FOUND OR EXISTS (SELECT 1 FROM heads WHERE seg = segment) THEN
            RETURN false;
        END IF;
        lower := coalesce((SELECT max(upto) FROM segments WHERE parent = segment), 0);
        IF lower >= freed THEN
            RETURN false;
        END IF;
        IF (SELECT count(*) FROM (
                (SELECT 1 FROM checkpoints WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most)
                UNION ALL
                (SELECT 1 FROM writes WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most)) r) >= most
        THEN
            INSERT INTO dead_segments (id) VALUES (segment) ON CONFLICT DO NOTHING;
            RETURN true;
        END IF;
        PERFORM tl_delete_above(segment, lower);
        IF lower > 0 THEN
            RETURN false;
        END IF;
        DELETE FROM segments WHERE id = segment;
        EXIT WHEN edge.parent IS NULL;
        segment := edge.parent;
        freed := edge.upto;
    END LOOP;
    RETURN false;
END
$$;

CREATE OR REPLACE FUNCTION tl_collect_dead(most integer) RETURNS boolean
LANGUAGE plpgsql
AS $$
    -- Frees up to `most` rows of a dead segment that no other transaction has locked. True: call it again.
DECLARE
    segment bigint;
    lower bigint;
    dropped bigint[];
    count integer;
BEGIN
    SELECT id INTO segment FROM dead_segments ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM segments WHERE id = segment FOR UPDATE;
    IF FOUND THEN
        lower := coalesce((SELECT max(upto) FROM segments WHERE parent = segment), 0);
        dropped := ARRAY(SELECT pos FROM checkpoints WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most);
        DELETE FROM blobs WHERE pos = ANY (dropped);
        DELETE FROM checkpoints WHERE pos = ANY (dropped);
        count := cardinality(dropped);
        dropped := ARRAY(SELECT pos FROM writes WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most - count);
        DELETE FROM writes WHERE pos = ANY (dropped);
        IF count + cardinality(dropped) >= most THEN
            RETURN true;
        END IF;
    END IF;
    DELETE FROM dead_segments WHERE id = segment;
    PERFORM tl_collect(segment, most);
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION tl_store_anew(
    own bigint, lower bigint, checkpoints bigint[], pending bigint[], orphans bigint[],
    OUT old_places bigint[], OUT new_places bigint[]
)
LANGUAGE plpgsql
-- The number of rows varies widely, so the statement is planned each time.
SET plan_cache_mode = force_custom_plan
SET enable_hashjoin = on
AS $$
    -- Copies the rows at these positions to another segment, in the same order; orphans get no parent. Values above `lower`, and
    -- those they build on, are copied too, each once. Returns the new position of each row.
DECLARE
    old_ids bigint[];
    new_ids bigint[];
    holders bigint[];
BEGIN
    SELECT coalesce(array_agg(place), '{}'), coalesce(array_agg(new), '{}') INTO old_places, new_places
    FROM (
        SELECT place, nextval('positions') AS new FROM (SELECT unnest(checkpoints || pending) AS place ORDER BY 1) r
    ) r;
    WITH RECURSIVE needed (id, base, holder) AS (
        SELECT b.id, b.base, m.new
        FROM unnest(old_places, new_places) AS m (old, new)
        JOIN checkpoints k ON k.pos = m.old
        CROSS JOIN unnest(k.blobs) AS r (id)
        JOIN blobs b ON b.id = r.id AND b.pos > lower
        UNION
        SELECT b.id, b.base, n.holder FROM needed n JOIN blobs b ON b.id = n.base AND b.pos > lower
    )
    SELECT array_agg(id), array_agg(nextval('blob_copies')), array_agg(holder) INTO old_ids, new_ids, holders
    FROM (SELECT id, min(holder) AS holder FROM needed GROUP BY id) v;
    INSERT INTO blobs (id, pos, type, base, number, size, data)
    SELECT v.new, v.holder, b.type, coalesce(a.new, b.base), b.number, b.size, b.data
    FROM unnest(old_ids, new_ids, holders) AS v (old, new, holder)
    JOIN blobs b ON b.id = v.old
    LEFT JOIN unnest(old_ids, new_ids) AS a (old, new) ON a.old = b.base;
    INSERT INTO checkpoints (pos, seg, namespace, checkpoint_id, parent, digests, body_type, body, channels, blobs, small_channels, small_bytes, meta, messages)
    SELECT m.new, own, k.namespace, k.checkpoint_id, CASE WHEN m.old = ANY (orphans) THEN NULL ELSE k.parent END, k.digests, k.body_type, k.body, k.channels,
        coalesce(r.blobs, '{}'), k.small_channels, k.small_bytes, k.meta, k.messages
    FROM unnest(old_places, new_places) AS m (old, new)
    JOIN checkpoints k ON k.pos = m.old
    LEFT JOIN (
        SELECT k.pos, array_agg(coalesce(v.new, r.id) ORDER BY r.place) AS blobs
        FROM unnest(checkpoints) AS c (pos)
        JOIN checkpoints k ON k.pos = c.pos
        CROSS JOIN unnest(k.blobs) WITH ORDINALITY AS r (id, place)
        LEFT JOIN unnest(old_ids, new_ids) AS v (old, new) ON v.old = r.id
        GROUP BY k.pos
    ) r ON r.pos = k.pos;
    INSERT INTO writes (pos, seg, namespace, checkpoint_id, task_id, idx, channel, type, data, path, digest)
    SELECT m.new, own, w.namespace, w.checkpoint_id, w.task_id, w.idx, w.channel, w.type, w.data, w.path, w.digest
    FROM unnest(old_places, new_places) AS m (old, new) JOIN writes w ON w.pos = m.old
    ON CONFLICT DO NOTHING;
END
$$;

-- Threads and their states. The caller holds the thread's lock.

CREATE OR REPLACE FUNCTION tl_lock_state(thread text) RETURNS bigint
LANGUAGE plpgsql
AS $$
    -- Returns the state row that a thread shows, and locks it. Threads that share the row release it one after the other, so the
    -- last one knows that it is the last. The caller holds the thread's lock.
DECLARE
    shown bigint;
BEGIN
    SELECT state_id INTO shown FROM threads WHERE thread_id = thread;
    PERFORM 1 FROM states WHERE id = shown FOR UPDATE;
    RETURN shown;
END
$$;

CREATE OR REPLACE FUNCTION tl_drop_state(state bigint) RETURNS void
LANGUAGE sql
AS $$
    DELETE FROM states WHERE id = state AND NOT EXISTS (SELECT 1 FROM threads WHERE state_id = state)
$$;

CREATE OR REPLACE FUNCTION tl_set_state(thread text, "new values" bytea, "new interrupts" bytea, "new error" text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    shown bigint := tl_lock_state(thread);
BEGIN
    IF shown IS NULL OR EXISTS (SELECT 1 FROM threads WHERE state_id = shown AND thread_id <> thread) THEN
        IF EXISTS (SELECT 1 FROM threads WHERE thread_id = thread) THEN
            INSERT INTO states ("values", interrupts) VALUES ("new values", "new interrupts") RETURNING id INTO shown;
            UPDATE threads SET state_id = shown, error = "new error" WHERE thread_id = thread;
        END IF;
    ELSE
        UPDATE states SET "values" = "new values", interrupts = "new interrupts" WHERE id = shown;
        UPDATE threads SET error = "new error" WHERE thread_id = thread AND error IS DISTINCT FROM "new error";
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION tl_drop_forks(copy bigint) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Deletes the record of where a deleted thread was copied from, unless copies of it are recorded; then the same for its
    -- ancestors, up to one that exists or has recorded copies.
    --
    -- Two copies of one thread may be deleted at the same moment, and each transaction still sees the other copy. So a row is
    -- locked before the copies of its thread are read: the second transaction sees that the first copy is deleted.
DECLARE
    source bigint;
BEGIN
    LOOP
        SELECT parent INTO source FROM forks WHERE child = copy FOR UPDATE;
        EXIT WHEN NOT FOUND
            OR EXISTS (SELECT 1 FROM forks WHERE parent = copy)
            OR EXISTS (SELECT 1 FROM threads WHERE seq = copy);
        DELETE FROM forks WHERE child = copy;
        copy := source;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION tl_delete_thread(thread text) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    shown bigint := tl_lock_state(thread);
    number bigint;
BEGIN
    DELETE FROM threads WHERE thread_id = thread RETURNING seq INTO number;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM tl_drop_forks(number);
    PERFORM tl_drop_state(shown);
    RETURN true;
END
$$;

-- Runs and their queue.

CREATE OR REPLACE FUNCTION tl_ready(thread text) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Marks the next run of a thread after its queue changed: the oldest pending run that is not delayed, if no run of the thread
    -- is running. The caller holds the thread's lock.
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
    -- Makes a pending run running, claimed by a worker. The caller holds the thread's lock.
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

CREATE OR REPLACE FUNCTION tl_release(now bigint) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Adds up to 200 delayed runs that have become due to the queue, of threads that no other transaction has locked. From then
    -- on they wait only for their turn, whatever the clock says.
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
    -- Claims the next runs, the most urgent first, of threads that no other transaction has locked; locked threads are skipped
    -- without waiting. A run that was found is read again after its thread is locked.
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

CREATE OR REPLACE FUNCTION tl_still_held(run_ids text[], fences bigint[], leases bigint[]) RETURNS SETOF runs
LANGUAGE plpgsql
AS $$
    -- Returns up to 200 of these runs whose leases have not been renewed since and whose threads no other transaction has locked.
    -- Locks those threads and the runs, so that the worker cannot renew its lease meanwhile.
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

-- Stored events.

CREATE OR REPLACE FUNCTION tl_append(
    thread text, runs text[], moments bigint[], numbers bigint[], names text[], modes text[], lasts boolean[], datas bytea[],
    "data sizes" bigint[], "value ids" bigint[], bases bigint[], "value datas" bytea[]
) RETURNS TABLE ("first seq" bigint, "ids" bigint[])
LANGUAGE plpgsql
AS $$
    -- Appends events to a thread's log. Ids grow within a thread although the clocks of processes differ: ids that would not grow
    -- are moved past the last one and returned. The log's row is locked before the bases of values are looked for: who removes
    -- values has locked it too. Without one of the bases nothing is returned, and the caller must roll back.
DECLARE
    log event_logs;
    count bigint := array_length(runs, 1);
    moved boolean;
BEGIN
    INSERT INTO event_logs AS l (thread_id, seq) VALUES (thread, count)
    ON CONFLICT (thread_id) DO UPDATE SET seq = l.seq + count
    RETURNING * INTO log;
    moved := (moments[1], numbers[1]) <= (log.ms, log.n);
    IF moved THEN
        FOR place IN 1..count LOOP
            IF (moments[place], numbers[place]) <= (log.ms, log.n) THEN
                moments[place] := log.ms;
                numbers[place] := log.n + 1;
            END IF;
            log.ms := moments[place];
            log.n := numbers[place];
        END LOOP;
    END IF;
    UPDATE event_logs SET ms = moments[count], n = numbers[count] WHERE thread_id = thread;
    IF "value ids" IS NOT NULL THEN
        INSERT INTO event_values (id, base, data)
        SELECT v.id, v.base, v.data FROM unnest("value ids", bases, "value datas") AS v (id, base, data) WHERE v.id IS NOT NULL;
        IF EXISTS (
            SELECT 1 FROM unnest(bases) AS b WHERE b IS NOT NULL AND NOT EXISTS (SELECT 1 FROM event_values v WHERE v.id = b)
        ) THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO events (thread_id, seq, run_id, ms, n, name, mode, last, data, value, size)
    SELECT thread, log.seq - count + place, e.run_id, e.ms, e.n, e.name, e.mode, e.last, e.data, e.value, e.size
    FROM unnest(runs, moments, numbers, names, modes, lasts, datas, "value ids", "data sizes")
        WITH ORDINALITY AS e (run_id, ms, n, name, mode, last, data, value, size, place);
    RETURN QUERY SELECT log.seq - count + 1, CASE WHEN moved THEN moments || numbers END;
END
$$;

CREATE OR REPLACE FUNCTION tl_drop_event_values(ids bigint[]) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Deletes values that were deleted events' and that nothing builds on, then those that only these built on.
BEGIN
    WHILE ids IS NOT NULL LOOP
        WITH gone AS (
            DELETE FROM event_values v WHERE v.id = ANY(ids)
                AND NOT EXISTS (SELECT 1 FROM events e WHERE e.value = v.id)
                AND NOT EXISTS (SELECT 1 FROM event_values o WHERE o.base = v.id)
            RETURNING v.base
        )
        SELECT array_agg(DISTINCT base) FILTER (WHERE base IS NOT NULL) INTO ids FROM gone;
    END LOOP;
END
$$;
