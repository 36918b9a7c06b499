-- name: insert
-- A new thread, unless its id is taken.
INSERT INTO threads ({new_thread}, copied_from) VALUES ({new_thread_values}, :copied_from)
ON CONFLICT (thread_id) DO NOTHING;

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

-- name: share_state
-- Lets a thread show the very state row that another one shows.
UPDATE threads SET state_id = (SELECT o.state_id FROM threads o WHERE o.thread_id = ?1) WHERE thread_id = ?2;

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
-- Removes a thread's row and tells which state it showed, and of what it was a copy.
DELETE FROM threads WHERE thread_id = ? RETURNING state_id, copied_from;

-- name: hand_on_copies
-- The copies of a thread that is gone become copies of another, or of none.
UPDATE threads SET copied_from = ?2 WHERE copied_from = ?1;

-- name: ttl
-- When a thread is to go, and how.
SELECT ttl_minutes, ttl_strategy, expires_at FROM threads WHERE thread_id = ?;

-- name: copies
-- All that descend from a thread by copying.
WITH RECURSIVE copies (thread_id) AS (
    SELECT thread_id FROM threads WHERE copied_from = ?1
    UNION SELECT t.thread_id FROM copies c JOIN threads t ON t.copied_from = c.thread_id
)
SELECT thread_id FROM copies WHERE thread_id <> ?1;

-- name: expired
-- Threads whose time is over, longest overdue first. Busy ones wait, and must not stand in the others' way.
SELECT {thread_without_state} FROM threads t WHERE expires_at IS NOT NULL AND expires_at <= ?1 AND status <> 'busy' ORDER BY expires_at, seq LIMIT ?2;
