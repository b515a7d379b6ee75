-- What a tenant has pushed, what is started again and again, and what nodes need to know to let instances go first, or
-- go at all.

ALTER TABLE instances ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;

-- As before, but by priority within each tenant.
DROP INDEX instances_claimable;
CREATE INDEX instances_claimable ON instances (tenant_id, priority, wake_at, instance_id)
WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL AND owner IS NULL;

-- Who uses an image: instances of programs that are none, which may be all, cost nothing.
CREATE INDEX instances_of_images ON instances (tenant_id, program COLLATE "C", instance_id)
WHERE status IN ('pending', 'running', 'suspended') AND substr(program, 1, 6) = 'image:';

-- What may be deleted first, without looking at what goes on.
CREATE INDEX instances_finished ON instances (finished_at, number)
WHERE status IN ('completed', 'failed', 'cancelled');

CREATE TABLE images (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id TEXT NOT NULL COLLATE "C",
    image_id TEXT NOT NULL COLLATE "C",
    name TEXT NOT NULL COLLATE "C",
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    UNIQUE (tenant_id, image_id)
);

CREATE UNIQUE INDEX images_by_name ON images (tenant_id, name) WHERE deleted_at IS NULL;

CREATE TABLE image_versions (
    image_number BIGINT NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL COLLATE "C",
    size BIGINT NOT NULL,
    kind TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    description TEXT NOT NULL,
    metadata BYTEA NOT NULL,
    defaults BYTEA,
    options BYTEA NOT NULL,
    PRIMARY KEY (image_number, version)
);

CREATE INDEX image_versions_by_digest ON image_versions (digest);

CREATE TRIGGER image_versions_stay BEFORE UPDATE ON image_versions FOR EACH ROW
EXECUTE FUNCTION refuse('a version of an image never changes');

CREATE TABLE schedules (
    tenant_id TEXT NOT NULL COLLATE "C",
    name TEXT NOT NULL COLLATE "C",
    plan BYTEA NOT NULL,
    next_at BIGINT,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE INDEX schedules_due ON schedules (next_at, tenant_id, name) WHERE next_at IS NOT NULL;
