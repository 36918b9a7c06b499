-- name: insert
-- A new thread, unless its id is taken.
INSERT INTO threads ({new_thread}) VALUES ({new_thread_values}) ON CONFLICT (thread_id) DO NOTHING;

-- name: insert_copies
-- New threads that show a state, from a JSON object of their metadata by their ids.
INSERT INTO threads ({new_thread}, state_id)
SELECT {new_copy_values}, :state_id FROM (SELECT key AS thread_id, value AS metadata FROM json_each(:copies)) c;

-- name: origin
-- What copies of thread ?1 that show the state of thread ?2 refer to: that state, the thread's number, and number and id of the
-- root of its tree of copies.
SELECT (SELECT state_id FROM threads WHERE thread_id = ?2), t.seq, coalesce(f.root, t.seq), coalesce(f.root_id, t.thread_id)
FROM threads t LEFT JOIN forks f ON f.child = t.seq WHERE t.thread_id = ?1;

-- name: insert_forks
-- Stores what copies were copied from. ?1 is a list of their ids. (The table itself is not read: that would need a temporary
-- table.)
INSERT INTO forks (child, thread_id, parent, root, root_id, checkpoint_id, at, user_id)
SELECT t.seq, t.thread_id, ?2, ?3, ?4, ?5, ?6, ?7 FROM json_each(?1) c CROSS JOIN threads t ON t.thread_id = c.value;

-- name: newest_change
-- The moment of the latest change of any thread.
SELECT max(updated_at) FROM threads WHERE updated_at > 0;

-- name: get
-- One thread by id, with the state that it shows.
SELECT {thread_with_state} FROM threads t LEFT JOIN states s ON s.id = t.state_id WHERE t.thread_id = ?;

-- name: get_plain
-- One thread by id, without its state.
SELECT {thread_without_state} FROM threads t WHERE thread_id = ?;

-- name: state_in_use
-- The state row that a thread shows, and whether another thread shows it too.
SELECT t.state_id, EXISTS (SELECT 1 FROM threads o WHERE o.state_id = t.state_id AND o.seq <> t.seq)
FROM threads t WHERE t.thread_id = ?;

-- name: replace_state
-- New content of a state row that only one thread shows.
UPDATE states SET "values" = ?2, interrupts = ?3 WHERE id = ?1;

-- name: insert_state
-- A new state row.
INSERT INTO states ("values", interrupts) VALUES (?, ?);

-- name: show_state
-- Sets which state row a thread shows, and the last error.
UPDATE threads SET state_id = ?2, error = ?3 WHERE thread_id = ?1;

-- name: drop_state
-- Deletes a state row that no thread shows any more.
DELETE FROM states WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM threads WHERE state_id = ?1);

-- name: set_error
-- Sets the last error.
UPDATE threads SET error = ?2 WHERE thread_id = ?1 AND error IS NOT ?2;

-- name: set_priority
-- Sets the priority of the thread's runs.
UPDATE threads SET priority = ?2 WHERE thread_id = ?1;

-- name: set_ttl
-- Sets when the thread expires, and the strategy.
UPDATE threads SET ttl_minutes = ?2, ttl_strategy = ?3, expires_at = ?4 WHERE thread_id = ?1;

-- name: delete
-- Deletes a thread's row. Returns its number and the state row that it showed.
DELETE FROM threads WHERE thread_id = ? RETURNING seq, state_id;

-- name: drop_fork
-- Deletes the record of where a deleted thread was copied from, unless copies of it are recorded. Returns its parent.
DELETE FROM forks
WHERE child = ?1 AND NOT EXISTS (SELECT 1 FROM forks WHERE parent = ?1) AND NOT EXISTS (SELECT 1 FROM threads WHERE seq = ?1)
RETURNING parent;

-- name: ttl
-- When a thread expires, and the strategy.
SELECT ttl_minutes, ttl_strategy, expires_at FROM threads WHERE thread_id = ?;

-- name: copies
-- All threads that descend from a thread by copying.
WITH RECURSIVE copies (seq) AS (
    SELECT f.child FROM threads t JOIN forks f ON f.parent = t.seq WHERE t.thread_id = ?
    UNION ALL SELECT f.child FROM copies c JOIN forks f ON f.parent = c.seq
)
SELECT t.thread_id FROM copies c JOIN threads t ON t.seq = c.seq;

-- name: of_one_tree
-- Whether two threads have the same root in the tree of copies.
SELECT count(*) = 2 AND count(DISTINCT coalesce(f.root, t.seq)) = 1
FROM threads t LEFT JOIN forks f ON f.child = t.seq WHERE t.thread_id IN (?1, ?2);
-- name: direct_copies
-- The newest copies of a thread, each with the newest root checkpoint that was copied.
SELECT t.thread_id, f.checkpoint_id
FROM threads s JOIN forks f ON f.parent = s.seq JOIN threads t ON t.seq = f.child
WHERE s.thread_id = ? ORDER BY f.child DESC LIMIT ?;

-- name: expired
-- Expired threads, longest overdue first. Busy ones are left out, so that they do not fill the page.
SELECT {thread_without_state} FROM threads t WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND status <> 'busy' ORDER BY expires_at, seq LIMIT ?2;
