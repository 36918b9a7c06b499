-- forks
CREATE TABLE forks (
    child bigint PRIMARY KEY,                           -- `threads.seq` of a copy: never given again, as its id may be
    thread_id text COLLATE "C" NOT NULL,                -- the id of the copy
    parent bigint NOT NULL,                             -- `threads.seq` of what it is a copy of
    root bigint NOT NULL,                               -- and of what all above it descend from,
    root_id text COLLATE "C" NOT NULL,                  -- with its id
    checkpoint_id text COLLATE "C",                     -- the newest root checkpoint it took along, NULL: there was none
    at bigint NOT NULL,
    user_id text COLLATE "C"                            -- who made it, NULL where users are not told apart
);
CREATE INDEX forks_parent ON forks (parent);
DROP INDEX threads_copies;
ALTER TABLE threads DROP COLUMN copied_from;
DROP FUNCTION tl_share_state;

CREATE FUNCTION tl_drop_forks(copy bigint) RETURNS void
LANGUAGE plpgsql
AS $$
    -- Forgets where a deleted thread came from, unless copies of it are known; and so on up to what is still there or known.
    --
    -- Two copies of one thread may go at the same moment, each seen by the other as still there. So a row is locked before the
    -- copies of its thread are looked at: who comes second sees that the first is gone.
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
