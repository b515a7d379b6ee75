-- name: configure
-- What every connection relies on. The path is fixed, so that nobody's tables are taken for ours. Statements are planned
-- seldom (see `forget_plans`), perhaps while the tables are small: they must not settle for reading them from end to end.
SET search_path = runtara, pg_catalog;
SET TimeZone = 'UTC';
SET default_transaction_isolation = 'read committed';
SET idle_in_transaction_session_timeout = '10s';
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET jit = off;

-- name: configure_reader
-- A connection that only looks.
SET default_transaction_read_only = on;

-- name: listen
-- Hear what nodes tell each other.
LISTEN runtara_due;
LISTEN runtara_changed;
LISTEN runtara_nodes;
LISTEN runtara_tasks;

-- name: limit_waits
-- How long a statement may take, and how long it may wait for a lock.
SELECT set_config('statement_timeout', %(statement_ms)s, false), set_config('lock_timeout', %(lock_ms)s, false);

-- name: read_durability
-- What the server must not be told to do without, if nothing that was acknowledged is ever to be lost.
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit');

-- name: keep_durability
-- What was checked stays so for this connection, whatever the server is told meanwhile.
SELECT set_config('synchronous_commit', current_setting('synchronous_commit'), false);

-- name: forget_plans
-- Have every statement planned again, when it is executed next.
DISCARD PLANS;

-- name: begin_read
-- Begin a transaction in which all statements see one state of the store.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: commit
-- Put the transaction on stable storage.
COMMIT;

-- name: begin_write
-- Begin a transaction of several statements.
BEGIN;

-- name: rollback
-- Forget the transaction.
ROLLBACK;

-- name: lock_schema
-- Let nobody else migrate meanwhile.
SELECT pg_advisory_xact_lock(7236821);

-- name: make_schema
-- The place of our tables, and the book of migrations.
CREATE SCHEMA IF NOT EXISTS runtara;
CREATE TABLE IF NOT EXISTS migrations (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- name: list_migrations
-- The applied migrations.
SELECT name, checksum FROM migrations ORDER BY number;

-- name: has_schema
-- Whether there is a book of migrations that is ours, and whether there is anything else.
SELECT count(*) FILTER (WHERE relname = 'migrations' AND (
        SELECT array_agg(CAST(attname AS TEXT) ORDER BY attnum) FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0
    ) = ARRAY['number', 'name', 'checksum', 'applied_at']) > 0,
    count(*) > 0
FROM pg_class WHERE relnamespace = to_regnamespace('runtara');

-- name: note_migration
-- Write an applied migration into the book.
INSERT INTO migrations (number, name, checksum) VALUES (%(number)s, %(name)s, %(checksum)s);
