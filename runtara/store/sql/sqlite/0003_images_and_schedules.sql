-- What a tenant has pushed, what is started again and again, and what a host needs to know to let instances go first,
-- or go at all.

ALTER TABLE instances ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;

-- Who uses an image: instances of programs that are none, which may be all, cost nothing.
CREATE INDEX instances_of_images ON instances (tenant_id, program, instance_id)
WHERE (status = 'pending' OR status = 'running' OR status = 'suspended') AND substr(program, 1, 6) = 'image:';

-- What may be deleted first, without looking at what goes on.
CREATE INDEX instances_finished ON instances (finished_at)
WHERE status = 'completed' OR status = 'failed' OR status = 'cancelled';

CREATE TABLE images (
    number INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    image_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    UNIQUE (tenant_id, image_id)
) STRICT;

CREATE UNIQUE INDEX images_by_name ON images (tenant_id, name) WHERE deleted_at IS NULL;

CREATE TABLE image_versions (
    image_number INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    kind TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    description TEXT NOT NULL,
    metadata BLOB NOT NULL,
    defaults BLOB,
    options BLOB NOT NULL,
    PRIMARY KEY (image_number, version)
) STRICT;

CREATE INDEX image_versions_by_digest ON image_versions (digest);

CREATE TRIGGER image_versions_stay BEFORE UPDATE ON image_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of an image never changes');
END;

CREATE TABLE schedules (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    plan BLOB NOT NULL,
    next_at INTEGER,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT;

CREATE INDEX schedules_due ON schedules (next_at, tenant_id, name) WHERE next_at IS NOT NULL;
