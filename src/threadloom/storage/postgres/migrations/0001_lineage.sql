-- The lineage: segments, heads, checkpoints, pending writes, blobs (docs/architecture.md, "How a copy works"), and what writes
-- to it. Positions, segment ids and eras come from one sequence.
--
-- A sequence gives its numbers before the commit. So "all up to this position" is a fixed set only for who has made all others
-- wait: whoever stores something takes the thread's lineage lock with others (shared) before it draws a position, and whoever
-- copies or takes something away takes it alone. Texts compare by their bytes (COLLATE "C"), as everywhere in the server.

CREATE FUNCTION tl_key(thread text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    -- The advisory lock of a thread's records.
    SELECT hashtextextended(thread COLLATE "C", 0)
$$;

CREATE FUNCTION tl_lineage_key(thread text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    -- The advisory lock of a thread's lineage. Who takes both takes that of the records first.
    SELECT hashtextextended(thread COLLATE "C", 1)
$$;

CREATE SEQUENCE positions;

CREATE SEQUENCE blob_ranges;                            -- each process draws one, and gives the ids in it by itself

CREATE SEQUENCE blob_copies INCREMENT -1;               -- ids of values stored anew by the database

CREATE TABLE segs (
    id bigint PRIMARY KEY,                              -- never reused: edges are cached by id
    parent bigint REFERENCES segs,
    upto bigint                                         -- of the parent, only positions <= upto are seen
);
CREATE INDEX segs_parent ON segs (parent, upto) WHERE parent IS NOT NULL;

CREATE TABLE heads (
    thread_id text COLLATE "C" PRIMARY KEY,
    seg bigint NOT NULL REFERENCES segs,
    era bigint NOT NULL                                 -- new whenever something is taken out of the thread's view
);
CREATE INDEX heads_seg ON heads (seg);

CREATE TABLE dead_segs (id bigint PRIMARY KEY);         -- lost their head, and were too long to be freed at once

CREATE TABLE cks (
    pos bigint PRIMARY KEY,
    seg bigint NOT NULL,
    ns text COLLATE "C" NOT NULL,
    cid text COLLATE "C" NOT NULL,
    parent text COLLATE "C",
    btype text NOT NULL,
    body bytea NOT NULL,                                -- the checkpoint without its big channel values
    channels text[] NOT NULL,                           -- that have a blob,
    blobs bigint[] NOT NULL,                            -- and which
    small_channels text[] NOT NULL,                     -- whose value stands in body,
    small_bytes bigint[] NOT NULL,                      -- and how long it is, 0 where the parent had it
    meta bytea NOT NULL                                 -- JSON
);
CREATE INDEX cks_id ON cks (cid, ns, seg, pos);         -- not unique: a checkpoint put again is one row more, the newest counts
CREATE INDEX cks_seg ON cks (seg, ns, pos);

CREATE TABLE writes (
    pos bigint PRIMARY KEY,
    seg bigint NOT NULL,
    ns text COLLATE "C" NOT NULL,
    cid text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    idx integer NOT NULL,
    channel text COLLATE "C" NOT NULL,
    type text NOT NULL,
    data bytea NOT NULL,
    path text COLLATE "C" NOT NULL
);
-- An ordinary write is stored once; a special one (idx < 0) again and again, the newest counts.
CREATE UNIQUE INDEX writes_id ON writes (seg, cid, ns, task_id, idx, (CASE WHEN idx < 0 THEN pos ELSE 0 END));
ALTER TABLE writes ALTER data SET STORAGE EXTERNAL;     -- what is stored is dense already, or not worth the time

CREATE TABLE blobs (
    id bigint PRIMARY KEY,
    pos bigint NOT NULL,                                -- of the checkpoint that stored it = whose it is
    type text NOT NULL,
    data bytea NOT NULL
);
CREATE INDEX blobs_pos ON blobs (pos);
ALTER TABLE blobs ALTER data SET STORAGE EXTERNAL;

CREATE TABLE run_spans (
    run_id text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    first bigint NOT NULL,                              -- position of the first row that the run stored on the thread
    PRIMARY KEY (run_id, thread_id)
);
CREATE INDEX run_spans_thread ON run_spans (thread_id);

-- Storing. The functions below give the thread's era; NULL when the run does not hold its fence any more.

CREATE FUNCTION tl_own(thread text, run text, held bigint, known_era bigint, OUT seg bigint, OUT era bigint)
LANGUAGE plpgsql
AS $$
    -- The segment that a thread writes to, made on first use, and its era; the lineage lock is held then, and until the
    -- transaction ends whoever would end or take over the run has to wait. No segment: the era is not `known_era`.
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
        -- Another may do the same at this moment: the one who comes second finds the head of the first.
        found_seg := nextval('positions');
        INSERT INTO segs (id) VALUES (found_seg);
        INSERT INTO heads (thread_id, seg, era) VALUES (thread, found_seg, found_seg) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            DELETE FROM segs WHERE id = found_seg;
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION tl_move_behind(
    own bigint, place bigint, own_ns text, own_id text, early_namespaces text[], early_ids text[]
) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Gives what builds on a root checkpoint, but was stored before it, positions after it: its own pending writes, and
    -- checkpoints of inner graphs with theirs. So a cut at the checkpoint takes none of it along.
DECLARE
    lower bigint := coalesce((SELECT max(upto) FROM segs WHERE parent = own), 0);
    moving record;
    new bigint;
BEGIN
    FOR moving IN
        SELECT c.pos, true AS is_checkpoint
        FROM unnest(early_namespaces, early_ids) AS e (ns, id) JOIN cks c ON c.cid = e.id AND c.ns = e.ns AND c.seg = own
        WHERE c.pos > lower AND c.pos < place
        UNION
        SELECT w.pos, false
        FROM unnest(own_ns || early_namespaces, own_id || early_ids) AS e (ns, id)
            JOIN writes w ON w.seg = own AND w.cid = e.id AND w.ns = e.ns
        WHERE w.pos > lower AND w.pos < place
        ORDER BY 1
    LOOP
        new := nextval('positions');
        IF moving.is_checkpoint THEN
            UPDATE cks SET pos = new WHERE pos = moving.pos;
            UPDATE blobs SET pos = new WHERE pos = moving.pos;
        ELSE
            UPDATE writes SET pos = new WHERE pos = moving.pos;
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION tl_put(
    thread text, run text, held bigint, known_era bigint,
    ns text, id text, parent text, body_type text, body bytea,
    channels text[], blobs bigint[], small_channels text[], small_bytes bigint[], meta bytea,
    blob_ids bigint[], blob_types text[], blob_data bytea[],
    early_namespaces text[], early_ids text[]
) RETURNS bigint
LANGUAGE plpgsql
AS $$
    -- A checkpoint. Minus the era, when that is not `known_era`.
DECLARE
    own record := tl_own(thread, run, held, known_era);
    place bigint;
BEGIN
    IF own.seg IS NULL THEN
        RETURN -own.era;
    END IF;
    place := nextval('positions');
    INSERT INTO blobs (id, pos, type, data)
    SELECT b.id, place, b.type, b.data FROM unnest(blob_ids, blob_types, blob_data) AS b (id, type, data);
    INSERT INTO cks VALUES
        (place, own.seg, ns, id, parent, body_type, body, channels, blobs, small_channels, small_bytes, meta);
    IF run IS NOT NULL THEN
        INSERT INTO run_spans VALUES (run, thread, place) ON CONFLICT DO NOTHING;
    END IF;
    IF early_namespaces IS NOT NULL THEN
        PERFORM tl_move_behind(own.seg, place, ns, id, early_namespaces, early_ids);
    END IF;
    RETURN own.era;
END
$$;

CREATE FUNCTION tl_put_writes(
    thread text, run text, held bigint, ns text, id text,
    tasks text[], idxs integer[], channels text[], types text[], datas bytea[], paths text[]
) RETURNS bigint
LANGUAGE plpgsql
AS $$
    -- Pending writes; nothing of an ordinary one that is there already.
DECLARE
    own record := tl_own(thread, run, held, NULL);
    before bigint;
BEGIN
    IF own.seg IS NULL THEN
        RETURN NULL;
    END IF;
    before := nextval('positions');
    INSERT INTO writes
    SELECT nextval('positions'), own.seg, ns, id, w.task, w.idx, w.channel, w.type, w.data, w.path
    FROM unnest(tasks, idxs, channels, types, datas, paths) AS w (task, idx, channel, type, data, path)
    ON CONFLICT DO NOTHING;
    IF FOUND AND run IS NOT NULL THEN
        INSERT INTO run_spans VALUES (run, thread, before) ON CONFLICT DO NOTHING;
    END IF;
    RETURN own.era;
END
$$;

CREATE FUNCTION tl_put_many(
    threads text[], runs text[], helds bigint[], known_eras bigint[], namespaces text[], ids text[],
    -- Of checkpoints; pending writes have no body type. Lists within the items are one after the other, with their lengths.
    parents text[], body_types text[], bodies bytea[], metas bytea[],
    ref_counts integer[], channels text[], blobs bigint[],
    small_counts integer[], small_channels text[], small_bytes bigint[],
    blob_counts integer[], blob_ids bigint[], blob_types text[], blob_data bytea[],
    early_counts integer[], early_namespaces text[], early_ids text[],
    write_counts integer[], tasks text[], idxs integer[], write_channels text[], write_types text[], write_data bytea[],
    paths text[]
) RETURNS bigint[]
LANGUAGE plpgsql
AS $$
    -- `tl_put` and `tl_put_writes` for many, one after the other. All that may have to be waited for is taken first and in one
    -- order, so that two such batches cannot wait for each other.
DECLARE
    answers bigint[] := '{}';
    ref integer := 1;
    small integer := 1;
    blob integer := 1;
    early integer := 1;
    write integer := 1;
BEGIN
    PERFORM 1 FROM runs r
    WHERE r.run_id IN (SELECT u.run FROM unnest(tl_put_many.runs, helds) AS u (run, held) WHERE u.held IS NOT NULL)
    ORDER BY r.run_id FOR SHARE;
    PERFORM pg_advisory_xact_lock_shared(key)
    FROM (SELECT DISTINCT tl_lineage_key(u.thread) AS key FROM unnest(threads) AS u (thread) ORDER BY 1) k;
    FOR i IN 1 .. cardinality(threads) LOOP
        IF body_types[i] IS NOT NULL THEN
            answers := answers || tl_put(
                threads[i], tl_put_many.runs[i], helds[i], known_eras[i], namespaces[i], ids[i], parents[i], body_types[i],
                bodies[i],
                channels[ref : ref + ref_counts[i] - 1], blobs[ref : ref + ref_counts[i] - 1],
                small_channels[small : small + small_counts[i] - 1], small_bytes[small : small + small_counts[i] - 1],
                metas[i],
                blob_ids[blob : blob + blob_counts[i] - 1], blob_types[blob : blob + blob_counts[i] - 1],
                blob_data[blob : blob + blob_counts[i] - 1],
                CASE WHEN early_counts[i] IS NOT NULL THEN early_namespaces[early : early + early_counts[i] - 1] END,
                CASE WHEN early_counts[i] IS NOT NULL THEN early_ids[early : early + early_counts[i] - 1] END);
            ref := ref + ref_counts[i];
            small := small + small_counts[i];
            blob := blob + blob_counts[i];
            early := early + coalesce(early_counts[i], 0);
        ELSE
            answers := answers || tl_put_writes(
                threads[i], tl_put_many.runs[i], helds[i], namespaces[i], ids[i],
                tasks[write : write + write_counts[i] - 1], idxs[write : write + write_counts[i] - 1],
                write_channels[write : write + write_counts[i] - 1], write_types[write : write + write_counts[i] - 1],
                write_data[write : write + write_counts[i] - 1], paths[write : write + write_counts[i] - 1]);
            write := write + write_counts[i];
        END IF;
    END LOOP;
    RETURN answers;
END
$$;

-- Reading.

CREATE FUNCTION tl_document(source bytea) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000
AS $$
    -- JSON to be searched. `jsonb` has no U+0000: storage/postgres/documents.py tells how it is spelled.
    SELECT replace(replace(convert_from(source, 'UTF8'), '\u0001', '\u00011'), '\u0000', '\u00010')::jsonb
$$;

CREATE FUNCTION tl_path(segments bigint[], bounds bigint[], namespace text, id text, wanted text[])
RETURNS TABLE (place bigint, level integer, missing text[])
LANGUAGE plpgsql STABLE
AS $$
    -- The ancestors of a checkpoint that a chain shows, nearest first, until each wanted channel was found: position, place of
    -- the segment in the chain, and the channels that were not found before.
DECLARE
    following text := id;
    row record;
    is_ancestor boolean := false;
BEGIN
    missing := wanted;
    LOOP
        SELECT c.pos, c.parent, c.channels, c.small_channels, array_position(segments, c.seg) AS level INTO row
        FROM cks c
        WHERE c.cid = following AND c.ns = namespace AND c.pos <= bounds[array_position(segments, c.seg)]
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

-- Taking away. The caller holds the thread's lineage lock alone.

CREATE FUNCTION tl_drop_above(segment bigint, bound bigint) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Deletes the rows of a segment above a position.
BEGIN
    DELETE FROM blobs b USING cks k WHERE k.seg = segment AND k.pos > bound AND b.pos = k.pos;
    DELETE FROM cks WHERE seg = segment AND pos > bound;
    DELETE FROM writes WHERE seg = segment AND pos > bound;
END
$$;

CREATE FUNCTION tl_collect(segment bigint, most integer) RETURNS boolean
LANGUAGE plpgsql
AS $$
    -- Frees what nobody sees of a segment that lost its head or a child, and so on up the chain. True: there was more to free
    -- than `most` rows; the segment was written down as dead, to be freed bit by bit.
    --
    -- Two children of one segment may go at the same moment, each seen by the other as still there. So the segment's row is
    -- locked before its children are looked at: who comes second sees that the first is gone. The lock also keeps off copies,
    -- which refer to that row.
DECLARE
    edge record;
    lower bigint;
    freed bigint := 4611686018427387904;                -- up to where rows may have lost who saw them
BEGIN
    LOOP
        SELECT s.parent, s.upto INTO edge FROM segs s WHERE s.id = segment FOR UPDATE;
        IF NOT FOUND OR EXISTS (SELECT 1 FROM heads WHERE seg = segment) THEN
            RETURN false;
        END IF;
        lower := coalesce((SELECT max(upto) FROM segs WHERE parent = segment), 0);
        IF lower >= freed THEN
            RETURN false;
        END IF;
        IF (SELECT count(*) FROM (
                (SELECT 1 FROM cks WHERE seg = segment AND pos > lower LIMIT most)
                UNION ALL
                (SELECT 1 FROM writes WHERE seg = segment AND pos > lower LIMIT most)) r) >= most
        THEN
            INSERT INTO dead_segs (id) VALUES (segment) ON CONFLICT DO NOTHING;
            RETURN true;
        END IF;
        PERFORM tl_drop_above(segment, lower);
        IF lower > 0 THEN
            RETURN false;
        END IF;
        DELETE FROM segs WHERE id = segment;
        EXIT WHEN edge.parent IS NULL;
        segment := edge.parent;
        freed := edge.upto;
    END LOOP;
    RETURN false;
END
$$;

CREATE FUNCTION tl_collect_dead(most integer) RETURNS boolean
LANGUAGE plpgsql
AS $$
    -- Frees up to `most` rows of a dead segment that nobody else is busy with. True: call it again.
DECLARE
    segment bigint;
    lower bigint;
    dropped bigint[];
    count integer;
BEGIN
    SELECT id INTO segment FROM dead_segs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM segs WHERE id = segment FOR UPDATE;
    IF FOUND THEN
        lower := coalesce((SELECT max(upto) FROM segs WHERE parent = segment), 0);
        dropped := ARRAY(SELECT pos FROM cks WHERE seg = segment AND pos > lower LIMIT most);
        DELETE FROM blobs WHERE pos = ANY (dropped);
        DELETE FROM cks WHERE pos = ANY (dropped);
        count := cardinality(dropped);
        dropped := ARRAY(SELECT pos FROM writes WHERE seg = segment AND pos > lower LIMIT most - count);
        DELETE FROM writes WHERE pos = ANY (dropped);
        IF count + cardinality(dropped) >= most THEN
            RETURN true;
        END IF;
    END IF;
    DELETE FROM dead_segs WHERE id = segment;
    PERFORM tl_collect(segment, most);
    RETURN true;
END
$$;

CREATE FUNCTION tl_store_anew(
    own bigint, lower bigint, checkpoints bigint[], pending bigint[], orphans bigint[],
    OUT old_places bigint[], OUT new_places bigint[]
)
LANGUAGE plpgsql
-- Few rows or very many: planned each time, for what there is.
SET plan_cache_mode = force_custom_plan
SET enable_hashjoin = on
AS $$
    -- The rows at these positions once more, on another segment and in the same order; orphans get no parent. Values that lie
    -- above `lower` are stored anew too, each once. Gives where each row went.
DECLARE
    old_ids bigint[];
    new_ids bigint[];
    holders bigint[];
BEGIN
    SELECT coalesce(array_agg(place), '{}'), coalesce(array_agg(new), '{}') INTO old_places, new_places
    FROM (
        SELECT place, nextval('positions') AS new FROM (SELECT unnest(checkpoints || pending) AS place ORDER BY 1) r
    ) r;
    SELECT array_agg(id), array_agg(nextval('blob_copies')), array_agg(holder) INTO old_ids, new_ids, holders
    FROM (
        SELECT b.id, min(m.new) AS holder
        FROM unnest(old_places, new_places) AS m (old, new)
        JOIN cks k ON k.pos = m.old
        CROSS JOIN unnest(k.blobs) AS r (id)
        JOIN blobs b ON b.id = r.id AND b.pos > lower
        GROUP BY b.id
    ) v;
    INSERT INTO blobs (id, pos, type, data)
    SELECT v.new, v.holder, b.type, b.data
    FROM unnest(old_ids, new_ids, holders) AS v (old, new, holder) JOIN blobs b ON b.id = v.old;
    INSERT INTO cks
    SELECT m.new, own, k.ns, k.cid, CASE WHEN m.old = ANY (orphans) THEN NULL ELSE k.parent END, k.btype, k.body, k.channels,
        coalesce(r.blobs, '{}'), k.small_channels, k.small_bytes, k.meta
    FROM unnest(old_places, new_places) AS m (old, new)
    JOIN cks k ON k.pos = m.old
    LEFT JOIN (
        SELECT k.pos, array_agg(coalesce(v.new, r.id) ORDER BY r.place) AS blobs
        FROM unnest(checkpoints) AS c (pos)
        JOIN cks k ON k.pos = c.pos
        CROSS JOIN unnest(k.blobs) WITH ORDINALITY AS r (id, place)
        LEFT JOIN unnest(old_ids, new_ids) AS v (old, new) ON v.old = r.id
        GROUP BY k.pos
    ) r ON r.pos = k.pos;
    INSERT INTO writes
    SELECT m.new, own, w.ns, w.cid, w.task_id, w.idx, w.channel, w.type, w.data, w.path
    FROM unnest(old_places, new_places) AS m (old, new) JOIN writes w ON w.pos = m.old
    ON CONFLICT DO NOTHING;
END
$$;
