-- Deliveries: what webhooks are to be told, kept until they were.
-- Where rows are found by a key, `status || ''` keeps the planner from walking an index of all pending ones instead.

-- name: insert
-- A new delivery.
INSERT INTO deliveries ({delivery}) VALUES ({delivery_values});

-- name: get
-- One delivery with its body.
SELECT {delivery} FROM deliveries WHERE delivery_id = $1;

-- name: next_due
-- When the first pending one is due.
SELECT min(due) FROM deliveries WHERE status = 'pending';

-- name: claim
-- Pending ones that are due, for the one who claims them; what another process is claiming is passed over.
WITH found AS (
    SELECT delivery_id, due FROM deliveries WHERE status = 'pending' AND due <= $2 ORDER BY due, seq LIMIT $4
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE deliveries d SET worker = $1, due = $3, claims = claims + 1 FROM found WHERE d.delivery_id = found.delivery_id
    RETURNING d.*, found.due AS was_due
)
SELECT {delivery} FROM claimed ORDER BY was_due, seq;

-- name: next_due_beside
-- When the first pending one is due, hosts in a list aside. Goes from host to host through the index.
WITH RECURSIVE hosts (host) AS (
    (SELECT host FROM deliveries WHERE status = 'pending' AND host >= '' ORDER BY host LIMIT 1)
    UNION ALL
    SELECT next.host FROM hosts CROSS JOIN LATERAL (
        SELECT host FROM deliveries WHERE status = 'pending' AND host > hosts.host ORDER BY host LIMIT 1
    ) next
)
SELECT min(first.due) FROM hosts CROSS JOIN LATERAL (
    SELECT due FROM deliveries WHERE status = 'pending' AND host = hosts.host ORDER BY due LIMIT 1
) first WHERE hosts.host <> ALL ($1::text[]);

-- name: claim_beside
-- As `claim`, hosts in a list aside.
WITH RECURSIVE hosts (host) AS (
    (SELECT host FROM deliveries WHERE status = 'pending' AND host >= '' ORDER BY host LIMIT 1)
    UNION ALL
    SELECT next.host FROM hosts CROSS JOIN LATERAL (
        SELECT host FROM deliveries WHERE status = 'pending' AND host > hosts.host ORDER BY host LIMIT 1
    ) next
), candidates AS (
    SELECT first.seq FROM hosts CROSS JOIN LATERAL (
        SELECT seq, due FROM deliveries WHERE status = 'pending' AND host = hosts.host AND due <= $2
        ORDER BY due, seq LIMIT $4
    ) first WHERE hosts.host <> ALL ($5::text[]) ORDER BY first.due, first.seq LIMIT $4
), found AS (
    SELECT d.delivery_id, d.due FROM candidates c JOIN deliveries d ON d.seq = c.seq
    WHERE d.status || '' = 'pending' AND d.due + 0 <= $2
    FOR NO KEY UPDATE OF d SKIP LOCKED
), claimed AS (
    UPDATE deliveries d SET worker = $1, due = $3, claims = claims + 1 FROM found WHERE d.delivery_id = found.delivery_id
    RETURNING d.*, found.due AS was_due
)
SELECT {delivery} FROM claimed ORDER BY was_due, seq;

-- name: note
-- How a try went, from the one who holds the newest claim.
UPDATE deliveries
SET status = :status, due = :due, worker = NULL, tries_left = :tries_left, tries = :tries, updated_at = :updated_at,
    expires_at = coalesce(expires_at, :expires_at)
WHERE delivery_id = :delivery_id AND claims = :claims AND status || '' = 'pending'
RETURNING true;

-- name: again
-- One made due once more. Of a pending one the end of its keeping stays: its thread or run is gone.
UPDATE deliveries
SET expires_at = CASE status WHEN 'pending' THEN expires_at END, status = 'pending', due = $2, tries_left = $3,
    updated_at = $2
WHERE delivery_id = $1 AND worker IS NULL
RETURNING {delivery};

-- name: release
-- All claims, given up.
UPDATE deliveries SET worker = NULL, due = $1 WHERE worker IS NOT NULL AND status = 'pending';

-- name: recompute_due
-- After the clock was set back: what was to be told later by then is told now, and claims end as if they were made now.
UPDATE deliveries
SET due = CASE WHEN worker IS NULL THEN $1::bigint ELSE $3::bigint END, updated_at = CASE WHEN worker IS NULL THEN $1::bigint ELSE updated_at END
WHERE status = 'pending' AND ((worker IS NULL AND updated_at > $1::bigint + $2::bigint) OR (worker IS NOT NULL AND due > $3::bigint + $2::bigint));

-- name: delete_of_run
-- Those of a run, but for pending ones, which go when they are made.
WITH gone AS (DELETE FROM deliveries WHERE run_id = $1 AND status <> 'pending')
UPDATE deliveries SET expires_at = $2 WHERE run_id = $1 AND status || '' = 'pending';

-- name: delete_of_thread
-- Those of a thread, but for pending ones, which go when they are made.
WITH gone AS (DELETE FROM deliveries WHERE thread_id = $1 AND status <> 'pending')
UPDATE deliveries SET expires_at = $2 WHERE thread_id = $1 AND status || '' = 'pending';

-- name: delete_expired
-- Those whose keeping is over. Gives how many; one that another process is dropping is not waited for.
WITH over AS (
    SELECT seq FROM deliveries WHERE expires_at <= $1 AND status <> 'pending' FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM deliveries d USING over WHERE d.seq = over.seq RETURNING 1
)
SELECT count(*) FROM gone;
