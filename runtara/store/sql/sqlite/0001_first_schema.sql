-- Callers know an instance by tenant and id; the other tables know it by its number, which is a tenth of the size and
-- keeps every index on the way of a checkpoint small. A number is never used again (AUTOINCREMENT), so that one which
-- the writer remembers cannot come to mean another instance.
--
-- Instants are integer milliseconds since 1970-01-01 UTC. Status lists are chains of OR, because SQLite builds a
-- temporary table for every IN list of constants each time the check or trigger runs: 3 microseconds against 50.

CREATE TABLE instances (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (
        status = 'pending' OR status = 'running' OR status = 'suspended'
        OR status = 'completed' OR status = 'failed' OR status = 'cancelled'
    ),
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    program TEXT,
    attempt_id TEXT,
    checkpoint_id TEXT,
    wake_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    heartbeat_at INTEGER,
    termination_reason TEXT,
    exit_code INTEGER,
    error TEXT,
    output BLOB,
    UNIQUE (tenant_id, instance_id)
) STRICT;

CREATE INDEX instances_due ON instances (wake_at, tenant_id, instance_id)
WHERE (status = 'pending' OR status = 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL;

CREATE INDEX instances_running ON instances (tenant_id, instance_id) WHERE status = 'running';

CREATE INDEX instances_by_status ON instances (tenant_id, status, instance_id);

CREATE TRIGGER instances_finished_stay
BEFORE UPDATE OF status, finished_at, error, output ON instances
WHEN (OLD.status = 'completed' OR OLD.status = 'failed' OR OLD.status = 'cancelled')
    AND (
        NEW.status IS NOT OLD.status
        OR NEW.finished_at IS NOT OLD.finished_at
        OR NEW.error IS NOT OLD.error
        OR NEW.output IS NOT OLD.output
    )
BEGIN
    SELECT RAISE(ABORT, 'a finished instance never changes');
END;

-- Inputs lie beside the instances, so that a large one is not written again with every change of its row.
CREATE TABLE inputs (
    instance_number INTEGER PRIMARY KEY REFERENCES instances ON DELETE CASCADE,
    input BLOB NOT NULL
) STRICT;

CREATE TRIGGER inputs_stay BEFORE UPDATE ON inputs
BEGIN
    SELECT RAISE(ABORT, 'an input never changes');
END;

CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY,
    instance_number INTEGER NOT NULL REFERENCES instances ON DELETE CASCADE,
    checkpoint_id TEXT NOT NULL,
    state BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    wake_at INTEGER,
    UNIQUE (instance_number, checkpoint_id)
) STRICT;

CREATE TRIGGER checkpoints_stay BEFORE UPDATE ON checkpoints
BEGIN
    SELECT RAISE(ABORT, 'a checkpoint never changes');
END;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    instance_number INTEGER NOT NULL REFERENCES instances ON DELETE CASCADE,
    type TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    subtype TEXT,
    checkpoint_id TEXT,
    payload BLOB
) STRICT;

CREATE INDEX events_of_instance ON events (instance_number);

CREATE TRIGGER events_stay BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'an event never changes');
END;

CREATE TABLE signals (
    number INTEGER PRIMARY KEY,
    instance_number INTEGER NOT NULL REFERENCES instances ON DELETE CASCADE,
    signal_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    name TEXT,
    payload BLOB NOT NULL,
    acknowledged_at INTEGER,
    seq INTEGER NOT NULL,
    UNIQUE (instance_number, signal_id)
) STRICT;

CREATE TABLE waits (
    number INTEGER PRIMARY KEY,
    instance_number INTEGER NOT NULL REFERENCES instances ON DELETE CASCADE,
    place TEXT NOT NULL,
    name TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    deadline_at INTEGER,
    ended_at INTEGER,
    signal_id TEXT,
    UNIQUE (instance_number, place)
) STRICT;

CREATE TRIGGER waits_end_once BEFORE UPDATE ON waits WHEN OLD.ended_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a wait that has ended never changes');
END;

CREATE TABLE retries (
    instance_number INTEGER NOT NULL REFERENCES instances ON DELETE CASCADE,
    checkpoint_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    error TEXT,
    retry_at INTEGER,
    PRIMARY KEY (instance_number, checkpoint_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
