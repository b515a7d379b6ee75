-- The same tables as in an SQLite store, and one more: the nodes that share the database. Everything lies in the schema
-- `runtara`, which whoever applies this has made and made the current one.
--
-- Instants are integer milliseconds since 1970-01-01 UTC, as everywhere; `now_ms()` is the one clock of all nodes. Ids
-- compare by their bytes (COLLATE "C"), so that pages come in the same order from every store. An error is bytes
-- (UTF-8), because a text cannot hold NUL here. No foreign keys: to check one costs as much as to insert the row, and what
-- belongs to an instance is only ever inserted together with a change of its row; `verify` looks for what does not.

CREATE FUNCTION now_ms() RETURNS BIGINT LANGUAGE sql VOLATILE
RETURN CAST(floor(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'RT001'; END $$;

-- Who shares the database. A row is one tenure: from the first opening of a node until it is declared lost or ends. The
-- number of a tenure is never used again, so what a lost node still says is known by it. `incarnation` counts how often
-- the node has connected; whoever writes under an older one writes nothing. `batch` is the number of its last commit.
CREATE TABLE nodes (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL COLLATE "C",
    address TEXT,
    fingerprint TEXT,
    version TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    places BIGINT,
    in_use BIGINT NOT NULL DEFAULT 0,
    draining BOOLEAN NOT NULL DEFAULT FALSE,
    incarnation BIGINT NOT NULL DEFAULT 1,
    batch BIGINT NOT NULL DEFAULT 0,
    lease_until BIGINT NOT NULL,
    lost_at BIGINT
) WITH (fillfactor = 10);

CREATE UNIQUE INDEX nodes_live ON nodes (name) WHERE lost_at IS NULL;

-- Which saves of a node's last batch were not stored, where there were any: what it asks for when the answer was lost.
CREATE TABLE refusals (
    node BIGINT PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    batch BIGINT NOT NULL,
    saves BIGINT[] NOT NULL
);

-- `owner` is the tenure of the node that may change the instance, as long as somebody runs it or is about to. Nobody
-- owns an instance that sleeps or is finished. `ran_on` is the last owner, who keeps what its program has written.
CREATE TABLE instances (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id TEXT NOT NULL COLLATE "C",
    instance_id TEXT NOT NULL COLLATE "C",
    status TEXT NOT NULL COLLATE "C"
        CHECK (status IN ('pending', 'running', 'suspended', 'completed', 'failed', 'cancelled')),
    version BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    program TEXT,
    attempt_id TEXT,
    checkpoint_id TEXT,
    wake_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    heartbeat_at BIGINT,
    termination_reason TEXT,
    exit_code BIGINT,
    error BYTEA,
    timeout_ms BIGINT,
    claimed_at BIGINT,
    ran_ms BIGINT NOT NULL DEFAULT 0,
    losses BIGINT NOT NULL DEFAULT 0,
    claimed_epoch BIGINT,
    output BYTEA,
    owner BIGINT,
    ran_on BIGINT,
    UNIQUE (tenant_id, instance_id)
) WITH (fillfactor = 80);

CREATE INDEX instances_due ON instances (wake_at, tenant_id, instance_id)
WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL;

-- What a node may claim, tenant by tenant.
CREATE INDEX instances_claimable ON instances (tenant_id, wake_at, instance_id)
WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL AND owner IS NULL;

CREATE INDEX instances_running ON instances (tenant_id, instance_id) WHERE status = 'running';

CREATE INDEX instances_owned ON instances (owner, number) WHERE owner IS NOT NULL;

-- What runs and belongs to nobody, as after it was copied from elsewhere.
CREATE INDEX instances_stray ON instances (number) WHERE status = 'running' AND owner IS NULL;

CREATE INDEX instances_by_status ON instances (tenant_id, status, instance_id);

CREATE TRIGGER instances_finished_stay
BEFORE UPDATE OF status, finished_at, error, output ON instances FOR EACH ROW
WHEN (
    OLD.status IN ('completed', 'failed', 'cancelled')
    AND (NEW.status, NEW.finished_at, NEW.error, NEW.output)
        IS DISTINCT FROM (OLD.status, OLD.finished_at, OLD.error, OLD.output)
)
EXECUTE FUNCTION refuse('a finished instance never changes');

CREATE TABLE inputs (
    instance_number BIGINT PRIMARY KEY,
    input BYTEA NOT NULL
);

CREATE TRIGGER inputs_stay BEFORE UPDATE ON inputs FOR EACH ROW EXECUTE FUNCTION refuse('an input never changes');

CREATE TABLE environments (
    instance_number BIGINT PRIMARY KEY,
    env TEXT NOT NULL
);

CREATE TRIGGER environments_stay BEFORE UPDATE ON environments FOR EACH ROW
EXECUTE FUNCTION refuse('an environment never changes');

CREATE TABLE checkpoints (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_number BIGINT NOT NULL,
    checkpoint_id TEXT NOT NULL COLLATE "C",
    state BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    wake_at BIGINT,
    request BIGINT,
    UNIQUE (instance_number, checkpoint_id)
);

CREATE TRIGGER checkpoints_stay BEFORE UPDATE ON checkpoints FOR EACH ROW
EXECUTE FUNCTION refuse('a checkpoint never changes');

CREATE TABLE events (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_number BIGINT NOT NULL,
    type TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    subtype TEXT,
    checkpoint_id TEXT,
    payload BYTEA,
    request BIGINT
);

CREATE INDEX events_of_instance ON events (instance_number, seq);

CREATE UNIQUE INDEX events_of_request ON events (instance_number, epoch, request) WHERE request IS NOT NULL;

CREATE TRIGGER events_stay BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION refuse('an event never changes');

CREATE TABLE signals (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_number BIGINT NOT NULL,
    signal_id TEXT NOT NULL COLLATE "C",
    kind TEXT NOT NULL,
    sent_at BIGINT NOT NULL,
    name TEXT,
    payload BYTEA NOT NULL,
    acknowledged_at BIGINT,
    seq BIGINT NOT NULL,
    UNIQUE (instance_number, signal_id)
);

CREATE TABLE waits (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_number BIGINT NOT NULL,
    place TEXT NOT NULL COLLATE "C",
    name TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    deadline_at BIGINT,
    ended_at BIGINT,
    signal_id TEXT,
    UNIQUE (instance_number, place)
);

CREATE TRIGGER waits_end_once BEFORE UPDATE ON waits FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL)
EXECUTE FUNCTION refuse('a wait that has ended never changes');

CREATE TABLE retries (
    instance_number BIGINT NOT NULL,
    checkpoint_id TEXT NOT NULL COLLATE "C",
    attempt BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    error BYTEA,
    retry_at BIGINT,
    PRIMARY KEY (instance_number, checkpoint_id, attempt)
);

-- What all nodes must agree on and no instance is about: secrets, certificates, keys of tenants. `version` counts.
CREATE TABLE documents (
    name TEXT PRIMARY KEY COLLATE "C",
    content BYTEA NOT NULL,
    version BIGINT NOT NULL DEFAULT 1
);
