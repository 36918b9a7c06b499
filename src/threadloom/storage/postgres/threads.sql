-- name: insert
-- A new thread, unless its id is taken, with the state that it shows, if any, and what it was copied from.
WITH state AS (
    INSERT INTO states ("values", interrupts)
    SELECT :values, :interrupts
    WHERE (:values::bytea IS NOT NULL OR :interrupts::bytea IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM threads WHERE thread_id = :thread_id)
    RETURNING id
),
made AS (
    INSERT INTO threads ({new_thread}, search, state_id)
    VALUES ({new_thread_values}, :search, (SELECT id FROM state))
    ON CONFLICT (thread_id) DO NOTHING
    RETURNING seq, thread_id
),
fork AS (
    INSERT INTO forks (child, thread_id, parent, root, root_id, checkpoint_id, at, user_id)
    SELECT m.seq, m.thread_id, p.seq, coalesce(f.root, p.seq), coalesce(f.root_id, p.thread_id), :checkpoint_id, :at, :user_id
    FROM made m JOIN threads p ON p.thread_id = :source LEFT JOIN forks f ON f.child = p.seq
)
SELECT true FROM made;

-- name: insert_copies
-- New threads that show the state of one thread, and what they were copied from.
WITH made AS (
    INSERT INTO threads ({new_thread}, search, state_id)
    SELECT {new_copy_values}, c.search, (SELECT state_id FROM threads WHERE thread_id = :state_of)
    FROM unnest(:thread_ids::text[], :documents::text[], :searches::jsonb[]) AS c (thread_id, metadata, search)
    RETURNING seq, thread_id
)
INSERT INTO forks (child, thread_id, parent, root, root_id, checkpoint_id, at, user_id)
SELECT m.seq, m.thread_id, p.seq, coalesce(f.root, p.seq), coalesce(f.root_id, p.thread_id), :checkpoint_id, :at, :user_id
FROM made m JOIN threads p ON p.thread_id = :source LEFT JOIN forks f ON f.child = p.seq;

-- name: newest_change
-- The moment of the latest change of any thread.
SELECT max(updated_at) FROM threads WHERE updated_at > 0;

-- name: get
-- One thread by id, with the state that it shows.
SELECT {thread_with_state} FROM threads t LEFT JOIN states s ON s.id = t.state_id WHERE t.thread_id = $1;

-- name: get_plain
-- One thread by id, without its state.
SELECT {thread_without_state} FROM threads t WHERE thread_id = $1;

-- name: update
-- Sets the fields given; NULL leaves one as it is.
UPDATE threads SET updated_at = coalesce($2, updated_at), state_updated_at = coalesce($3, state_updated_at),
    metadata = coalesce($4, metadata), search = coalesce($5, search), status = coalesce($6, status),
    config = coalesce($7, config)
WHERE thread_id = $1;

-- name: set_state
-- Sets the state that a thread shows, in a row of its own.
SELECT tl_set_state($1, $2, $3, $4);

-- name: set_error
-- Sets the last error, or NULL.
UPDATE threads SET error = $2 WHERE thread_id = $1;

-- name: set_priority
-- Sets the priority of the thread's runs.
UPDATE threads SET priority = $2 WHERE thread_id = $1;

-- name: set_ttl
-- Sets when the thread expires, and the strategy.
UPDATE threads SET ttl_minutes = $2, ttl_strategy = $3, expires_at = $4 WHERE thread_id = $1;

-- name: delete
-- Deletes a thread's row, its state unless another thread shows it, and the record of what it was copied from unless copies of
-- the thread are recorded.
SELECT tl_delete_thread($1);

-- name: ttl
-- When a thread expires, and the strategy.
SELECT ttl_minutes, ttl_strategy, expires_at FROM threads WHERE thread_id = $1;

-- name: copies
-- All threads that descend from a thread by copying.
WITH RECURSIVE copies (seq) AS (
    SELECT f.child FROM threads t JOIN forks f ON f.parent = t.seq WHERE t.thread_id = $1
    UNION ALL SELECT f.child FROM copies c JOIN forks f ON f.parent = c.seq
)
SELECT t.thread_id FROM copies c JOIN threads t ON t.seq = c.seq;

-- name: of_one_tree
-- Whether two threads have the same root in the tree of copies.
SELECT count(*) = 2 AND count(DISTINCT coalesce(f.root, t.seq)) = 1
FROM threads t LEFT JOIN forks f ON f.child = t.seq WHERE t.thread_id IN ($1, $2);
-- name: direct_copies
-- The newest copies of a thread, each with the newest root checkpoint that was copied.
SELECT t.thread_id, f.checkpoint_id
FROM threads s JOIN forks f ON f.parent = s.seq JOIN threads t ON t.seq = f.child
WHERE s.thread_id = $1 ORDER BY f.child DESC LIMIT $2;

-- name: expired
-- Expired threads, longest overdue first. Busy ones are left out, so that they do not fill the page.
SELECT {thread_without_state} FROM threads t WHERE expires_at IS NOT NULL AND expires_at <= $1 AND status <> 'busy' ORDER BY expires_at, seq LIMIT $2;
