-- Assistants: the current version of each in `assistants`, every version in `assistant_versions`.

-- name: insert
-- A new assistant, unless its id is taken.
INSERT INTO assistants ({assistant}) VALUES ({assistant_values})
ON CONFLICT (assistant_id) DO NOTHING;

-- name: insert_version
-- A version, created at `updated_at`.
INSERT INTO assistant_versions ({new_version}) VALUES ({new_version_values});

-- name: update
-- Changes the current record. `created_at` never changes.
UPDATE assistants SET {assistant_changes}, version = :version WHERE assistant_id = :assistant_id;

-- name: add_version
-- A version numbered highest ever + 1, created at `updated_at`. Returns its number.
INSERT INTO assistant_versions ({new_version})
SELECT {next_version_values} FROM assistant_versions WHERE assistant_id = :assistant_id RETURNING version;

-- name: get
-- One assistant in its current version.
SELECT {assistant}
FROM assistants
WHERE assistant_id = ?;

-- name: versions
-- Versions of one assistant, newest first.
SELECT {version}
FROM assistant_versions
WHERE assistant_id = :assistant_id AND (:metadata IS NULL OR contains(metadata, :metadata))
ORDER BY version DESC
LIMIT :limit OFFSET :offset;

-- name: version
-- One version of one assistant.
SELECT {version}
FROM assistant_versions
WHERE assistant_id = ? AND version = ?;

-- name: restate_version
-- Replaces description, config and context of a version.
UPDATE assistant_versions SET description = :description, config = :config, context = :context
WHERE assistant_id = :assistant_id AND version = :version;

-- name: restate_current
-- Replaces them for the assistant, if that version is its current one.
UPDATE assistants SET description = :description, config = :config, context = :context
WHERE assistant_id = :assistant_id AND version = :version;

-- name: delete
-- Deletes the assistant alone.
DELETE FROM assistants WHERE assistant_id = ?;

-- name: delete_versions
-- Deletes all its versions.
DELETE FROM assistant_versions WHERE assistant_id = ?;

-- name: search
-- Assistants by filters; the order is appended.
SELECT {assistant}
FROM assistants
WHERE (:graphs IS NULL OR graph_id IN (SELECT value FROM json_each(:graphs)))
    AND (:graph_id IS NULL OR graph_id = :graph_id)
    AND (:name IS NULL OR instr(casefold(name), casefold(:name)) > 0)
    AND (:metadata IS NULL OR contains(metadata, :metadata));

-- name: count
-- How many assistants match the same filters.
SELECT count(*)
FROM assistants
WHERE (:graphs IS NULL OR graph_id IN (SELECT value FROM json_each(:graphs)))
    AND (:graph_id IS NULL OR graph_id = :graph_id)
    AND (:name IS NULL OR instr(casefold(name), casefold(:name)) > 0)
    AND (:metadata IS NULL OR contains(metadata, :metadata));
