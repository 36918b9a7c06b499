-- name: insert
-- A new thread, unless its id is taken.
INSERT INTO threads ({new_thread}) VALUES ({new_thread_values}) ON CONFLICT (thread_id) DO NOTHING;

-- name: insert_copies
-- New threads that show a state, from an object of their metadata by their ids.
INSERT INTO threads ({new_thread}, state_id)
SELECT {new_copy_values}, :state_id FROM (SELECT key AS thread_id, value AS metadata FROM json_each(:copies)) c;

-- name: origin
-- What copies of thread ?1 that show the state of thread ?2 refer to: that state, the thread's number, number and id of what it
-- descends from.
SELECT (SELECT state_id FROM threads WHERE thread_id = ?2), t.seq, coalesce(f.root, t.seq), coalesce(f.root_id, t.thread_id)
FROM threads t LEFT JOIN forks f ON f.child = t.seq WHERE t.thread_id = ?1;

-- name: insert_forks
-- Where copies come from. ?1 is a list of their ids. (Nothing is read of the table itself: that would take a temporary one.)
INSERT INTO forks (child, thread_id, parent, root, root_id, checkpoint_id, at, user_id)
SELECT t.seq, t.thread_id, ?2, ?3, ?4, ?5, ?6, ?7 FROM json_each(?1) c CROSS JOIN threads t ON t.thread_id = c.value;

-- name: newest_change
-- The moment of the latest change of any thread.
SELECT max(updated_at) FROM threads WHERE updated_at > 0;

-- name: get
-- One thread by id, with what it shows of its state.
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
-- A state row of its own.
INSERT INTO states ("values", interrupts) VALUES (?, ?);

-- name: show_state
-- Which state row a thread shows, and what went wrong last.
UPDATE threads SET state_id = ?2, error = ?3 WHERE thread_id = ?1;

-- name: drop_state
-- Forgets a state row once no thread shows it.
DELETE FROM states WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM threads WHERE state_id = ?1);

-- name: set_error
-- What went wrong last, or NULL.
UPDATE threads SET error = ?2 WHERE thread_id = ?1 AND error IS NOT ?2;

-- name: set_priority
-- How urgent the thread's runs are.
UPDATE threads SET priority = ?2 WHERE thread_id = ?1;

-- name: set_ttl
-- When the thread is to go, and how.
UPDATE threads SET ttl_minutes = ?2, ttl_strategy = ?3, expires_at = ?4 WHERE thread_id = ?1;

-- name: delete
-- Removes a thread's row and tells its number and which state it showed.
DELETE FROM threads WHERE thread_id = ? RETURNING seq, state_id;

-- name: drop_fork
-- Forgets where a deleted thread came from, unless copies of it are known. Gives its parent.
DELETE FROM forks
WHERE child = ?1 AND NOT EXISTS (SELECT 1 FROM forks WHERE parent = ?1) AND NOT EXISTS (SELECT 1 FROM threads WHERE seq = ?1)
RETURNING parent;

-- name: ttl
-- When a thread is to go, and how.
SELECT ttl_minutes, ttl_strategy, expires_at FROM threads WHERE thread_id = ?;

-- name: copies
-- All that descend from a thread by copying.
WITH RECURSIVE copies (seq) AS (
    SELECT f.child FROM threads t JOIN forks f ON f.parent = t.seq WHERE t.thread_id = ?
    UNION ALL SELECT f.child FROM copies c JOIN forks f ON f.parent = c.seq
)
SELECT t.thread_id FROM copies c JOIN threads t ON t.seq = c.seq;

-- name: expired
-- Threads whose time is over, longest overdue first. Busy ones wait, and must not stand in the others' way.
SELECT {thread_without_state} FROM threads t WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND status <> 'busy' ORDER BY expires_at, seq LIMIT ?2;
