-- name: load_instances
-- Instances by a JSON list of [tenant, id]: their numbers, then the fields of `Instance` in order.
SELECT instances.number, instances.tenant_id, instances.instance_id, status, version, epoch, created_at, program,
    attempt_id, checkpoint_id, wake_at, started_at, finished_at, heartbeat_at, termination_reason, exit_code, error,
    timeout_ms, claimed_at, ran_ms, losses, claimed_epoch, priority
FROM json_each(?) AS wanted
CROSS JOIN instances
    ON instances.tenant_id = json_extract(wanted.value, '$[0]')
    AND instances.instance_id = json_extract(wanted.value, '$[1]');

-- name: load_checkpoint_ids
-- The checkpoints of instances by a JSON list of numbers, in the order in which they were saved.
SELECT instance_number, checkpoint_id
FROM json_each(?) AS wanted CROSS JOIN checkpoints ON instance_number = wanted.value
ORDER BY seq;

-- name: load_signal_ids
-- The ids of all signals of instances by a JSON list of numbers, in order of arrival.
SELECT instance_number, signal_id
FROM json_each(?) AS wanted CROSS JOIN signals ON instance_number = wanted.value
ORDER BY seq, number;

-- name: load_signals
-- The signals not yet acknowledged of instances by a JSON list of numbers; the fields of `Signal` in order.
SELECT instance_number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq
FROM json_each(?) AS wanted CROSS JOIN signals ON instance_number = wanted.value
WHERE acknowledged_at IS NULL
ORDER BY seq, number;

-- name: load_waits
-- The waits of instances by a JSON list of numbers; the fields of `Wait` in order.
SELECT instance_number, place, name, started_at, deadline_at, ended_at, signal_id
FROM json_each(?) AS wanted CROSS JOIN waits ON instance_number = wanted.value
ORDER BY number;

-- name: read_checkpoint
-- One checkpoint whose state is not longer; the fields of `Checkpoint` in order. (Both databases know a length without reading it all.)
SELECT checkpoint_id, state, epoch, created_at, wake_at, request FROM checkpoints
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id) AND checkpoint_id = :checkpoint_id AND length(state) <= :longest;

-- name: read_signal
-- One signal; the fields of `Signal` in order.
SELECT signal_id, kind, sent_at, name, payload, acknowledged_at, seq FROM signals
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id) AND signal_id = :signal_id;

-- name: read_input
-- The input of an instance.
SELECT input FROM inputs
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id);

-- name: read_env
-- The environment of an instance's program, as a JSON object.
SELECT env FROM environments
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id);

-- name: read_output
-- The output of an instance.
SELECT output FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id;

-- name: read_retries
-- The failed tries of a step; the fields of `Retry` in order.
SELECT checkpoint_id, attempt, recorded_at, error, retry_at FROM retries
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id) AND checkpoint_id = :checkpoint_id
ORDER BY attempt;

-- name: list_due
-- Instances that are to be launched, earliest first, behind a given one, without those of some tenants and programs: the
-- fields of `DueInstance` in order.
SELECT wake_at, tenant_id, instance_id, priority, program FROM instances
WHERE (status = 'pending' OR status = 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL
    AND wake_at <= :until_ms AND (wake_at, tenant_id, instance_id) > (:wake_at, :tenant_id, :instance_id)
    AND tenant_id NOT IN (SELECT value FROM json_each(:tenants))
    AND program NOT IN (SELECT value FROM json_each(:programs))
    AND (:only_pools = 'false' OR substr(program, 1, 5) = 'pool:')
    AND (
        :pools = 'null' OR substr(program, 1, 5) <> 'pool:'
        OR tenant_id || ' ' || program IN (SELECT value FROM json_each(:pools))
    )
ORDER BY wake_at, tenant_id, instance_id
LIMIT :limit;

-- name: list_running
-- Running instances by key, behind a given one; the column before the last is when the newest attempt will have used
-- up what time the earlier ones left, or null where nothing limits it.
SELECT tenant_id, instance_id, epoch, program, claimed_at + timeout_ms - ran_ms, claimed_epoch
FROM instances
WHERE status = 'running' AND (tenant_id, instance_id) > (:tenant_id, :instance_id)
ORDER BY tenant_id, instance_id
LIMIT :limit;

-- name: list_instances
-- A tenant's instances by id, behind a given one; the fields of `InstanceSummary` in order.
SELECT instance_id, status, epoch, created_at, program, wake_at, started_at, finished_at, termination_reason
FROM instances
WHERE tenant_id = :tenant_id AND instance_id > :after
ORDER BY instance_id
LIMIT :limit;

-- name: list_instances_by_status
-- The same, of one status.
SELECT instance_id, status, epoch, created_at, program, wake_at, started_at, finished_at, termination_reason
FROM instances
WHERE tenant_id = :tenant_id AND status = :status AND instance_id > :after
ORDER BY instance_id
LIMIT :limit;

-- name: list_checkpoints
-- An instance's checkpoints behind a given one: seq, then the fields of `CheckpointInfo` in order. The inner query
-- needs the index only; the states are not read.
SELECT seq, checkpoint_id, epoch, created_at, length(state), wake_at FROM checkpoints
WHERE seq IN (
    SELECT seq FROM checkpoints
    WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id)
        AND seq > :after
    ORDER BY seq
    LIMIT :limit
)
ORDER BY seq;

-- name: list_events
-- An instance's events behind a given one, of one type or subtype where that is given; the fields of `Event` in order.
SELECT type, epoch, created_at, subtype, checkpoint_id, payload, request, seq FROM events
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id)
    AND seq > :after AND (:type IS NULL OR type = :type) AND (:subtype IS NULL OR subtype = :subtype)
ORDER BY seq
LIMIT :limit;

-- name: list_newest_events
-- The same in front of a given one, the last event first.
SELECT type, epoch, created_at, subtype, checkpoint_id, payload, request, seq FROM events
WHERE instance_number = (SELECT number FROM instances WHERE tenant_id = :tenant_id AND instance_id = :instance_id)
    AND seq < :before AND (:type IS NULL OR type = :type) AND (:subtype IS NULL OR subtype = :subtype)
ORDER BY seq DESC
LIMIT :limit;

-- name: count_by_status
-- How many instances stand where.
SELECT status, count(*) FROM instances GROUP BY status;
