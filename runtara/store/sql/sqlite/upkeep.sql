-- name: read_table
-- All rows of a table, in the order in which they were stored.
SELECT {columns} FROM {table} ORDER BY {order};

-- name: write_row
-- A row as it was in another store, with its number.
INSERT INTO {table} ({columns}) VALUES ({places});

-- name: has_rows
-- Whether there is anything in a table.
SELECT EXISTS (SELECT 1 FROM {table});

-- name: clear_table
-- Forget all rows of a table.
DELETE FROM {table};

-- name: count_finished
-- How many instances have finished before an instant, with one of a list of statuses, of one tenant or of all.
SELECT count(*) FROM instances
WHERE (status = 'completed' OR status = 'failed' OR status = 'cancelled') AND finished_at < :before_ms
    AND status IN (SELECT value FROM json_each(:statuses)) AND (:tenant_id IS NULL OR tenant_id = :tenant_id);

-- name: list_finished
-- Some of them, those first that finished first: their numbers, tenants and ids.
SELECT number, tenant_id, instance_id FROM instances
WHERE (status = 'completed' OR status = 'failed' OR status = 'cancelled') AND finished_at < :before_ms
    AND status IN (SELECT value FROM json_each(:statuses)) AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
ORDER BY finished_at, number
LIMIT :limit;

-- name: delete_instances
-- Finished instances by a JSON list of numbers. What belongs to them goes with them, because it refers to them.
DELETE FROM instances
WHERE number IN (SELECT value FROM json_each(:numbers))
    AND (status = 'completed' OR status = 'failed' OR status = 'cancelled');

-- name: configure_copy
-- A file that is gone before it could be lost.
PRAGMA synchronous = OFF;

-- name: vacuum
-- Write the file anew, without the room of what was deleted.
VACUUM;
