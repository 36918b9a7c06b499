-- Deliveries: the notifications of webhooks, kept until they are delivered.

-- name: insert
-- A new delivery.
INSERT INTO deliveries ({delivery}) VALUES ({delivery_values});

-- name: get
-- One delivery with its body.
SELECT {delivery}
FROM deliveries WHERE delivery_id = ?;

-- name: next_due
-- When the first pending delivery is due.
SELECT min(due) FROM deliveries WHERE status = 'pending';

-- name: next_due_beside
-- When the first pending delivery is due, without those to a list of hosts. Walks from host to host through the index.
WITH RECURSIVE hosts (host) AS (
    SELECT min(host) FROM deliveries INDEXED BY deliveries_host WHERE status = 'pending'
    UNION ALL
    SELECT (SELECT min(d.host) FROM deliveries d INDEXED BY deliveries_host WHERE d.status = 'pending' AND d.host > hosts.host)
    FROM hosts WHERE host IS NOT NULL
)
SELECT min((
    SELECT min(d.due) FROM deliveries d INDEXED BY deliveries_host WHERE d.status = 'pending' AND d.host = hosts.host
)) FROM hosts WHERE host IS NOT NULL AND host NOT IN (SELECT value FROM json_each(?));

-- name: due_beside
-- Pending deliveries that are due, without those to a list of hosts.
WITH RECURSIVE hosts (host) AS (
    SELECT min(host) FROM deliveries INDEXED BY deliveries_host WHERE status = 'pending'
    UNION ALL
    SELECT (SELECT min(d.host) FROM deliveries d INDEXED BY deliveries_host WHERE d.status = 'pending' AND d.host > hosts.host)
    FROM hosts WHERE host IS NOT NULL
)
SELECT d.delivery_id
FROM hosts CROSS JOIN deliveries d
WHERE hosts.host IS NOT NULL AND hosts.host NOT IN (SELECT value FROM json_each(?3)) AND d.seq IN (
    SELECT l.seq FROM deliveries l INDEXED BY deliveries_host
    WHERE l.status = 'pending' AND l.host = hosts.host AND l.due <= ?1
    ORDER BY l.due, l.seq LIMIT ?2
)
ORDER BY d.due, d.seq LIMIT ?2;

-- name: due
-- Pending deliveries that are due.
SELECT delivery_id FROM deliveries WHERE status = 'pending' AND due <= ? ORDER BY due, seq LIMIT ?;

-- name: claim
-- Claims a delivery that is due.
UPDATE deliveries SET worker = ?2, due = ?3, claims = claims + 1 WHERE delivery_id = ?1
RETURNING {delivery};

-- name: note
-- Stores the result of a try, if the claim is still the newest.
UPDATE deliveries
SET status = :status, due = :due, worker = NULL, tries_left = :tries_left, tries = :tries, updated_at = :updated_at,
    expires_at = coalesce(expires_at, :expires_at)
WHERE delivery_id = :delivery_id AND claims = :claims AND status = 'pending';

-- name: again
-- Makes a delivery due again. A pending one keeps its expiry, because its thread or run was deleted.
UPDATE deliveries
SET expires_at = CASE status WHEN 'pending' THEN expires_at END, status = 'pending', due = ?2, tries_left = ?3,
    updated_at = ?2
WHERE delivery_id = ?1 AND worker IS NULL
RETURNING {delivery};

-- name: release
-- Releases all claims.
UPDATE deliveries INDEXED BY deliveries_due SET worker = NULL, due = ? WHERE worker IS NOT NULL AND status = 'pending';

-- name: recompute_due
-- After the clock was set back: later deliveries become due now, and claims end as if they were made now.
UPDATE deliveries INDEXED BY deliveries_due
SET due = CASE WHEN worker IS NULL THEN ?1 ELSE ?3 END, updated_at = CASE WHEN worker IS NULL THEN ?1 ELSE updated_at END
WHERE status = 'pending' AND ((worker IS NULL AND updated_at > ?1 + ?2) OR (worker IS NOT NULL AND due > ?3 + ?2));

-- name: delete_of_run
-- Deletes the deliveries of a run, except pending ones.
DELETE FROM deliveries WHERE run_id = ? AND status <> 'pending';

-- name: expire_of_run
-- Sets the expiry of the remaining deliveries of a run.
UPDATE deliveries SET expires_at = ?2 WHERE run_id = ?1;

-- name: delete_of_thread
-- Deletes the deliveries of a thread, except pending ones.
DELETE FROM deliveries WHERE thread_id = ? AND status <> 'pending';

-- name: expire_of_thread
-- Sets the expiry of the remaining deliveries of a thread.
UPDATE deliveries SET expires_at = ?2 WHERE thread_id = ?1;

-- name: delete_expired
-- Deletes expired deliveries.
DELETE FROM deliveries WHERE expires_at <= ? AND status <> 'pending';

-- name: search
-- Deliveries without their bodies; filters and order are appended.
SELECT {delivery_without_body}
FROM deliveries;

-- name: count
-- How many deliveries there are; the filters are appended.
SELECT count(*) FROM deliveries;
