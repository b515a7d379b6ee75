-- name: be_patient
-- A connection that reads or fills whole tables, which takes as long as it takes.
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;

-- name: begin_rest
-- Begin a transaction that sees the state in which it finds the store once it has locked it.
BEGIN ISOLATION LEVEL REPEATABLE READ;

-- name: read_table
-- All rows of a table, in the order in which they were stored.
COPY (SELECT {columns} FROM {table} ORDER BY {order}) TO STDOUT (FORMAT BINARY);

-- name: write_rows
-- Rows as they were in another store, with their numbers.
COPY {table} ({columns}) FROM STDIN (FORMAT BINARY);

-- name: has_rows
-- Whether there is anything in a table.
SELECT EXISTS (SELECT FROM {table});

-- name: clear_tables
-- Forget all instances, what belongs to them, and what all nodes agree on.
TRUNCATE {tables};

-- name: number_on
-- Let a table go on numbering behind its last row.
SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table} HAVING count(*) > 0;

-- name: lock_all
-- Let nobody open a node, or change an instance, until this transaction ends.
LOCK TABLE nodes, instances IN EXCLUSIVE MODE;

-- name: list_live_nodes
-- The names of nodes whose lease has not run out.
SELECT name FROM nodes WHERE lost_at IS NULL AND lease_until > now_ms() ORDER BY name;

-- name: count_finished
-- How many instances have finished before an instant, with one of a list of statuses, of one tenant or of all.
SELECT count(*) FROM instances
WHERE status IN ('completed', 'failed', 'cancelled') AND finished_at < %(before_ms)s
    AND status = ANY(CAST(%(statuses)s AS TEXT[]))
    AND (CAST(%(tenant_id)s AS TEXT) IS NULL OR tenant_id = %(tenant_id)s);

-- name: list_finished
-- Some of them, those first that finished first: their numbers, tenants and ids. They are locked, so that nothing can be
-- added to them any more; those that somebody else has locked are left alone.
SELECT number, tenant_id, instance_id FROM instances
WHERE status IN ('completed', 'failed', 'cancelled') AND finished_at < %(before_ms)s
    AND status = ANY(CAST(%(statuses)s AS TEXT[]))
    AND (CAST(%(tenant_id)s AS TEXT) IS NULL OR tenant_id = %(tenant_id)s)
ORDER BY finished_at, number
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED;

-- name: delete_instances
-- Instances by their numbers, and all that belongs to them. A statement of its own behind the lock, because one that
-- also locks them would not see what was added while it waited.
WITH their_inputs AS (DELETE FROM inputs WHERE instance_number = ANY(%(numbers)s)),
their_environments AS (DELETE FROM environments WHERE instance_number = ANY(%(numbers)s)),
their_checkpoints AS (DELETE FROM checkpoints WHERE instance_number = ANY(%(numbers)s)),
their_events AS (DELETE FROM events WHERE instance_number = ANY(%(numbers)s)),
their_signals AS (DELETE FROM signals WHERE instance_number = ANY(%(numbers)s)),
their_waits AS (DELETE FROM waits WHERE instance_number = ANY(%(numbers)s)),
their_retries AS (DELETE FROM retries WHERE instance_number = ANY(%(numbers)s))
DELETE FROM instances WHERE number = ANY(%(numbers)s);

-- name: vacuum_table
-- Make the room of deleted rows free for others, and learn anew what the table holds.
VACUUM (ANALYZE) {table};

-- name: measure_tables
-- How many bytes our tables take, with their indexes.
SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
WHERE relnamespace = CAST('runtara' AS regnamespace) AND relkind = 'r';
