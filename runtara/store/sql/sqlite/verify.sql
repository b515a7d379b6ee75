-- name: verify_pages
-- the file's structure is damaged
SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok';

-- name: verify_foreign_keys
-- a row belongs to an instance that does not exist
SELECT "table" || ' row ' || coalesce(rowid, '?') FROM pragma_foreign_key_check;

-- name: verify_statuses
-- an instance has an unknown status
SELECT tenant_id || '/' || instance_id || ' is ' || status FROM instances
WHERE status NOT IN ('pending', 'running', 'suspended', 'completed', 'failed', 'cancelled');

-- name: verify_finished
-- a finished instance has no instant at which it finished
SELECT tenant_id || '/' || instance_id FROM instances
WHERE status IN ('completed', 'failed', 'cancelled') AND finished_at IS NULL;

-- name: verify_unfinished
-- an instance that goes on has an instant at which it finished
SELECT tenant_id || '/' || instance_id FROM instances
WHERE status IN ('pending', 'running', 'suspended') AND finished_at IS NOT NULL;

-- name: verify_last_checkpoint
-- an instance names a last checkpoint that is not stored
SELECT tenant_id || '/' || instance_id || ' names ' || instances.checkpoint_id FROM instances
WHERE instances.checkpoint_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM checkpoints
    WHERE instance_number = instances.number AND checkpoints.checkpoint_id = instances.checkpoint_id
);

-- name: verify_waits
-- a wait was ended by a signal that is not stored
SELECT tenant_id || '/' || instance_id || ' at ' || waits.place
FROM waits JOIN instances ON instances.number = waits.instance_number
WHERE waits.signal_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM signals
    WHERE signals.instance_number = waits.instance_number AND signals.signal_id = waits.signal_id
);

-- name: verify_images
-- the current version of an image is not stored
SELECT tenant_id || '/' || name || ' names ' || images.version FROM images
WHERE deleted_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM image_versions
    WHERE image_number = images.number AND image_versions.version = images.version
);

-- name: verify_environments
-- an environment is not a list of names and values
SELECT tenant_id || '/' || instance_id
FROM environments JOIN instances ON instances.number = environments.instance_number
WHERE CASE WHEN json_valid(env) THEN json_type(env) <> 'object' ELSE true END;

-- name: read_schema
-- The tables, indexes and triggers as they were written.
SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL;
