-- name: find_instances
-- A tenant's instances of one status in an order, behind one place and up to another, that a filter lets through; the
-- fields of `InstanceSummary` in order. With the filter in the inner query few rows would be expected, and all that could
-- be meant be read and sorted.
SELECT instance_id, status, epoch, created_at, program, wake_at, started_at, finished_at, termination_reason
FROM (
    SELECT * FROM instances
    WHERE tenant_id = %(tenant_id)s AND status = %(status)s AND {has_place}
        AND ({place}) {beyond} ({first}) AND ({place}) {within} ({last})
    ORDER BY {sorted}
    LIMIT %(looked_at)s
) AS placed
WHERE starts_with(instance_id, %(prefix)s)
    AND (CAST(%(created_from)s AS BIGINT) IS NULL OR created_at >= %(created_from)s)
    AND (CAST(%(created_before)s AS BIGINT) IS NULL OR created_at < %(created_before)s)
    AND (CAST(%(finished_from)s AS BIGINT) IS NULL OR finished_at >= %(finished_from)s)
    AND (CAST(%(finished_before)s AS BIGINT) IS NULL OR finished_at < %(finished_before)s)
    AND (CAST(%(program)s AS TEXT) IS NULL OR program = %(program)s)
    AND (CAST(%(image)s AS TEXT) IS NULL OR starts_with(program, %(image)s))
    AND (%(search)s = '' OR strpos(instance_id, %(search)s) > 0 OR strpos(program, %(search)s) > 0)
LIMIT %(limit)s;

-- name: find_place
-- The last place of an order that is looked at for one page among those of one status, behind a given one.
SELECT {place} FROM instances
WHERE tenant_id = %(tenant_id)s AND status = %(status)s AND {has_place}
    AND ({place}) {beyond} ({first})
ORDER BY {sorted}
LIMIT 1 OFFSET %(skipped)s;

-- name: count_instances
-- How many instances of a tenant stand where.
SELECT status, count(*) FROM instances WHERE tenant_id = %(tenant_id)s GROUP BY status;

-- name: count_created
-- How many instances of a tenant were created, by the number of the span of time.
SELECT created_at / %(width)s, count(*) FROM instances
WHERE tenant_id = %(tenant_id)s
    AND status IN ('pending', 'running', 'suspended', 'completed', 'failed', 'cancelled')
    AND created_at >= %(from_ms)s AND created_at < %(to_ms)s
GROUP BY 1;

-- name: count_ended
-- How many have ended, and how long they took: the span's number, the status, how many, and the time of all of them
-- together and of the longest.
SELECT finished_at / %(width)s, status, count(*),
    CAST(sum(greatest(finished_at - coalesce(started_at, created_at), 0)) AS BIGINT), max(greatest(finished_at - coalesce(started_at, created_at), 0))
FROM instances
WHERE tenant_id = %(tenant_id)s AND status IN ('completed', 'failed', 'cancelled') AND finished_at IS NOT NULL
    AND finished_at >= %(from_ms)s AND finished_at < %(to_ms)s
GROUP BY 1, 2;

-- name: list_waits
-- An instance's waits in the order in which they began, behind a given one: number, then the fields of `Wait` in order.
SELECT number, place, name, started_at, deadline_at, ended_at, signal_id FROM waits
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s)
    AND number > %(after)s
ORDER BY number
LIMIT %(limit)s;

-- name: list_retries
-- An instance's failed tries of all steps as they were recorded, without the first ones; the fields of `Retry` in order.
SELECT checkpoint_id, attempt, recorded_at, error, retry_at FROM retries
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s)
ORDER BY recorded_at, checkpoint_id, attempt
LIMIT %(limit)s OFFSET %(skipped)s;

-- name: find_changed
-- Rows that other nodes have changed, by their numbers, of some tenants: tenant and version, then the fields of
-- `InstanceSummary` in order.
SELECT tenant_id, version, instance_id, status, epoch, created_at, program, wake_at, started_at, finished_at,
    termination_reason
FROM instances
WHERE number = ANY(%(numbers)s) AND tenant_id = ANY(%(tenants)s);
