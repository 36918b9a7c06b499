-- What a thread stored after a moment, in whatever namespace: a page of all of it, the end that is cut off, the runs since.
--
-- The `+ 0` is what a query writes that is to go this way. No other index fits it, and no other query fits these: plans are made
-- once for all threads, and what looks best for most would walk through all rows of the table, or of a thread, for some.

DROP INDEX cks_seg;
CREATE INDEX cks_seg ON cks (seg, ns, (pos + 0));

CREATE INDEX cks_pos ON cks ((seg + 0), (pos + 0));

CREATE INDEX writes_pos ON writes ((seg + 0), (pos + 0));

DROP INDEX run_spans_thread;
CREATE INDEX run_spans_thread ON run_spans (thread_id, first);

CREATE OR REPLACE FUNCTION tl_drop_above(segment bigint, bound bigint) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Deletes the rows of a segment above a position.
BEGIN
    DELETE FROM blobs b USING cks k WHERE k.seg + 0 = segment AND k.pos + 0 > bound AND b.pos = k.pos;
    DELETE FROM cks WHERE seg + 0 = segment AND pos + 0 > bound;
    DELETE FROM writes WHERE seg + 0 = segment AND pos + 0 > bound;
END
$$;

CREATE OR REPLACE FUNCTION tl_collect(segment bigint, most integer) RETURNS boolean
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
                (SELECT 1 FROM cks WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most)
                UNION ALL
                (SELECT 1 FROM writes WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most)) r) >= most
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

CREATE OR REPLACE FUNCTION tl_collect_dead(most integer) RETURNS boolean
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
        dropped := ARRAY(SELECT pos FROM cks WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most);
        DELETE FROM blobs WHERE pos = ANY (dropped);
        DELETE FROM cks WHERE pos = ANY (dropped);
        count := cardinality(dropped);
        dropped := ARRAY(SELECT pos FROM writes WHERE seg + 0 = segment AND pos + 0 > lower LIMIT most - count);
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
