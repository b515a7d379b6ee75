-- name: configure_writer
-- Make commits durable, let this one connection checkpoint, and keep the write-ahead log within bounds.
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA foreign_keys = ON;
PRAGMA trusted_schema = OFF;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -{cache_kib};
PRAGMA wal_autocheckpoint = {wal_checkpoint_pages};
PRAGMA journal_size_limit = {wal_kept_bytes};

-- name: configure_reader
-- Look without touching: no write, and no checkpoint, which is the writer's alone.
PRAGMA query_only = ON;
PRAGMA trusted_schema = OFF;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
PRAGMA wal_autocheckpoint = 0;

-- name: take_ownership
-- Lock the owner file for as long as the connection lives. Nothing is ever written to it, so it needs no journal file.
PRAGMA journal_mode = MEMORY;
BEGIN EXCLUSIVE;

-- name: begin_write
-- Begin a transaction that can write, and wait here if somebody else is writing.
BEGIN IMMEDIATE;

-- name: begin_read
-- Begin a transaction in which all statements see one state of the store.
BEGIN;

-- name: commit
-- Put the transaction on stable storage.
COMMIT;

-- name: rollback
-- Forget the transaction.
ROLLBACK;

-- name: empty_log
-- Copy all that is in the write-ahead log into the file, put that on stable storage, and empty the log.
PRAGMA wal_checkpoint(TRUNCATE);

-- name: set_patience
-- How long to wait for a lock, in milliseconds.
PRAGMA busy_timeout = {milliseconds};

-- name: write_setting
-- Store a setting of the store itself.
INSERT INTO settings (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: read_setting
-- Read a setting of the store itself.
SELECT value FROM settings WHERE key = ?;

-- name: list_settings
-- All settings of the store itself.
SELECT key, value FROM settings;

-- name: list_tables
-- The names of all tables.
SELECT name FROM sqlite_schema WHERE type = 'table';

-- name: list_migrations
-- The migrations that sqlite-utils has noted, in the order in which they were applied.
SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id;
