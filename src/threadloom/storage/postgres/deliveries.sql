-- Deliveries: the notifications of webhooks, kept until they are delivered. Where rows are found by a key, `status || ''` keeps
-- the planner from scanning an index of all pending ones.

-- name: insert
-- A new delivery.
INSERT INTO deliveries ({delivery}) VALUES ({delivery_values});

-- name: get
-- One delivery with its body.
SELECT {delivery} FROM deliveries WHERE delivery_id = $1;

-- name: next_due
-- When the first pending delivery is due.
SELECT min(due) FROM deliveries WHERE status = 'pending';

-- name: claim
-- Claims pending deliveries that are due. Rows that another process is claiming are skipped.
WITH found AS (
    SELECT delivery_id, due FROM deliveries WHERE status = 'pending' AND due <= $2 ORDER BY due, seq LIMIT $4
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE deliveries d SET worker = $1, due = $3, claims = claims + 1 FROM found WHERE d.delivery_id = found.delivery_id
    RETURNING d.*, found.due AS was_due
)
SELECT {delivery} FROM claimed ORDER BY was_due, seq;

-- name: next_due_beside
-- When the first pending delivery is due, without those to a list of hosts. Walks from host to host through the index.
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
-- As `claim`, without deliveries to a list of hosts.
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
-- Stores the result of a try, if the claim is still the newest.
UPDATE deliveries
SET status = :status, due = :due, worker = NULL, tries_left = :tries_left, tries = :tries, updated_at = :updated_at,
    expires_at = coalesce(expires_at, :expires_at)
WHERE delivery_id = :delivery_id AND claims = :claims AND status || '' = 'pending'
RETURNING true;

-- name: again
-- Makes a delivery due again. A pending one keeps its expiry, because its thread or run was deleted.
UPDATE deliveries
SET expires_at = CASE status WHEN 'pending' THEN expires_at END, status = 'pending', due = $2, tries_left = $3,
    updated_at = $2
WHERE delivery_id = $1 AND worker IS NULL
RETURNING {delivery};

-- name: release
-- Releases all claims.
UPDATE deliveries SET worker = NULL, due = $1 WHERE worker IS NOT NULL AND status = 'pending';

-- name: recompute_due
-- After the clock was set back: later deliveries become due now, and claims end as if they were made now.
UPDATE deliveries
SET due = CASE WHEN worker IS NULL THEN $1::bigint ELSE $3::bigint END, updated_at = CASE WHEN worker IS NULL THEN $1::bigint ELSE updated_at END
WHERE status = 'pending' AND ((worker IS NULL AND updated_at > $1::bigint + $2::bigint) OR (worker IS NOT NULL AND due > $3::bigint + $2::bigint));

-- name: delete_of_run
-- Deletes the deliveries of a run, except pending ones, which are deleted after they were made.
WITH gone AS (DELETE FROM deliveries WHERE run_id = $1 AND status <> 'pending')
UPDATE deliveries SET expires_at = $2 WHERE run_id = $1 AND status || '' = 'pending';

-- name: delete_of_thread
-- Deletes the deliveries of a thread, except pending ones, which are deleted after they were made.
WITH gone AS (DELETE FROM deliveries WHERE thread_id = $1 AND status <> 'pending')
UPDATE deliveries SET expires_at = $2 WHERE thread_id = $1 AND status || '' = 'pending';

-- name: delete_expired
-- Deletes expired deliveries. Returns how many. Rows that another process is deleting are skipped.
WITH over AS (
    SELECT seq FROM deliveries WHERE expires_at <= $1 AND status <> 'pending' FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM deliveries d USING over WHERE d.seq = over.seq RETURNING 1
)
SELECT count(*) FROM gone;
