-- name: insert_schedule
-- A new schedule, unless there is one of its name; the fields of `Schedule` in order.
INSERT INTO schedules (tenant_id, name, plan, next_at, version, created_at, updated_at)
VALUES (%(tenant_id)s, %(name)s, %(plan)s, %(next_at)s, %(version)s, %(created_at)s, %(updated_at)s)
ON CONFLICT DO NOTHING
RETURNING version;

-- name: update_schedule
-- The next version of a schedule, where the one before is stored.
UPDATE schedules
SET plan = %(plan)s, next_at = %(next_at)s, version = %(version)s, created_at = %(created_at)s,
    updated_at = %(updated_at)s
WHERE tenant_id = %(tenant_id)s AND name = %(name)s AND version = %(version)s - 1
RETURNING version;

-- name: delete_schedule
-- Forget a schedule.
DELETE FROM schedules WHERE tenant_id = %(tenant_id)s AND name = %(name)s RETURNING version;

-- name: read_schedule
-- A schedule; the fields of `Schedule` in order.
SELECT tenant_id, name, plan, next_at, version, created_at, updated_at FROM schedules
WHERE tenant_id = %(tenant_id)s AND name = %(name)s;

-- name: list_schedules
-- A tenant's schedules by name, behind a given one; the fields of `Schedule` in order.
SELECT tenant_id, name, plan, next_at, version, created_at, updated_at FROM schedules
WHERE tenant_id = %(tenant_id)s AND name > %(after)s
ORDER BY name
LIMIT %(limit)s;

-- name: list_due_schedules
-- Schedules that are to start something, earliest first; the fields of `Schedule` in order.
SELECT tenant_id, name, plan, next_at, version, created_at, updated_at FROM schedules
WHERE next_at IS NOT NULL AND next_at <= %(until_ms)s
ORDER BY next_at, tenant_id, name
LIMIT %(limit)s;

-- name: next_schedule_at
-- When the next schedule is to start something.
SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL;
