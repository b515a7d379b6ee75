-- name: find_instances
-- A tenant's instances of one status in an order, behind one place and up to another, that a filter lets through; the
-- fields of `InstanceSummary` in order.
SELECT instance_id, status, epoch, created_at, program, wake_at, started_at, finished_at, termination_reason
FROM instances
WHERE tenant_id = :tenant_id AND status = :status AND {has_place}
    AND ({place}) {beyond} ({first}) AND ({place}) {within} ({last})
    AND substr(instance_id, 1, length(:prefix)) = :prefix
    AND (:created_from IS NULL OR created_at >= :created_from)
    AND (:created_before IS NULL OR created_at < :created_before)
    AND (:finished_from IS NULL OR finished_at >= :finished_from)
    AND (:finished_before IS NULL OR finished_at < :finished_before)
    AND (:program IS NULL OR program = :program)
    AND (:image IS NULL OR substr(program, 1, length(:image)) = :image)
    AND (:search = '' OR instr(instance_id, :search) > 0 OR instr(program, :search) > 0)
ORDER BY {sorted}
LIMIT :limit;

-- name: find_place
-- The last place of an order that is looked at for one page among those of one status, behind a given one.
SELECT {place} FROM instances
WHERE tenant_id = :tenant_id AND status = :status AND {has_place}
    AND ({place}) {beyond} ({first})
ORDER BY {sorted}
LIMIT 1 OFFSET :skipped;

-- name: count_instances
-- How many instances of a tenant stand where.
SELECT status, count(*) FROM instances WHERE tenant_id = :tenant_id GROUP BY status;

-- name: count_created
-- How many instances of a tenant were created, by the number of the span of time.
SELECT created_at / :width, count(*) FROM instances
WHERE tenant_id = :tenant_id
    AND status IN ('pending', 'running', 'suspended', 'completed', 'failed', 'cancelled')
    AND created_at >= :from_ms AND created_at < :to_ms
GROUP BY 1;

-- name: count_ended
-- How many have ended, and how long they took: the span's number, the status, how many, and the time of all of them
-- together and of the longest.
SELECT finished_at / :width, status, count(*), sum(max(finished_at - coalesce(started_at, created_at), 0)),
    max(max(finished_at - coalesce(started_at, created_at), 0))
FROM instances
WHERE tenant_id = :tenant_id AND status IN ('completed', 'failed', 'cancelled') AND finished_at IS NOT NULL
    AND finished_at >= :from_ms AND finished_at < :to_ms
GROUP BY 1, 2;

-- name: list_waits
-- An instance's waits in the order in which they began, behind a given one: number, then the fields of `Wait` in order.
SELECT number, place, name, started_at, deadline_at, ended_at, signal_id FROM waits
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id)
    AND number > :after
ORDER BY number
LIMIT :limit;

-- name: list_retries
-- An instance's failed tries of all steps as they were recorded, without the first ones; the fields of `Retry` in order.
SELECT checkpoint_id, attempt, recorded_at, error, retry_at FROM retries
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id)
ORDER BY recorded_at, checkpoint_id, attempt
LIMIT :limit OFFSET :skipped;
