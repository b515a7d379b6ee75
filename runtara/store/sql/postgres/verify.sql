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
    SELECT FROM checkpoints
    WHERE instance_number = instances.number AND checkpoints.checkpoint_id = instances.checkpoint_id
);

-- name: verify_waits
-- a wait was ended by a signal that is not stored
SELECT tenant_id || '/' || instance_id || ' at ' || waits.place
FROM waits JOIN instances ON instances.number = waits.instance_number
WHERE waits.signal_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM signals
    WHERE signals.instance_number = waits.instance_number AND signals.signal_id = waits.signal_id
);

-- name: verify_belongings
-- a row belongs to an instance that does not exist
SELECT belonging FROM (
    SELECT 'inputs' AS belonging, instance_number FROM inputs
    UNION ALL SELECT 'environments', instance_number FROM environments
    UNION ALL SELECT 'checkpoints ' || checkpoint_id, instance_number FROM checkpoints
    UNION ALL SELECT 'events ' || seq, instance_number FROM events
    UNION ALL SELECT 'signals ' || signal_id, instance_number FROM signals
    UNION ALL SELECT 'waits ' || place, instance_number FROM waits
    UNION ALL SELECT 'retries ' || checkpoint_id, instance_number FROM retries
) AS belongings
WHERE NOT EXISTS (SELECT FROM instances WHERE number = belongings.instance_number);

-- name: verify_image_versions
-- a version belongs to an image that does not exist
SELECT 'image ' || image_number || ' version ' || version FROM image_versions
WHERE NOT EXISTS (SELECT FROM images WHERE number = image_versions.image_number);

-- name: verify_images
-- the current version of an image is not stored
SELECT tenant_id || '/' || name || ' names ' || images.version FROM images
WHERE deleted_at IS NULL AND NOT EXISTS (
    SELECT FROM image_versions
    WHERE image_number = images.number AND image_versions.version = images.version
);

-- name: verify_environments
-- an environment is not a list of names and values
SELECT tenant_id || '/' || instance_id
FROM environments JOIN instances ON instances.number = environments.instance_number
WHERE left(env, 1) <> '{' OR right(env, 1) <> '}';

-- name: verify_owners
-- an instance is owned by a node that does not exist
SELECT tenant_id || '/' || instance_id || ' by ' || owner FROM instances
WHERE owner IS NOT NULL AND owner NOT IN (SELECT number FROM nodes);

-- name: verify_owned
-- a finished instance is owned by a node
SELECT tenant_id || '/' || instance_id || ' by ' || owner FROM instances
WHERE owner IS NOT NULL AND status IN ('completed', 'failed', 'cancelled');

-- name: list_objects
-- The tables, indexes, triggers and functions that there are.
SELECT CASE relkind WHEN 'r' THEN 'table ' ELSE 'index ' END || relname FROM pg_class
WHERE relnamespace = CAST('runtara' AS regnamespace) AND relkind IN ('r', 'i')
UNION ALL
SELECT 'trigger ' || tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = CAST('runtara' AS regnamespace) AND NOT tgisinternal
UNION ALL
SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = CAST('runtara' AS regnamespace);
