-- name: load_instances
-- Instances by a list of keys: their numbers, the fields of `Instance` in order; of who owns them: number, name, address,
-- fingerprint, and whether that node is lost; the ids of their checkpoints in the order in which they were saved; and
-- whether they have signals or waits, which few have.
SELECT instances.number, instances.tenant_id, instances.instance_id, status, instances.version, epoch, created_at, program,
    attempt_id, checkpoint_id, wake_at, started_at, finished_at, heartbeat_at, termination_reason, exit_code, error,
    timeout_ms, claimed_at, ran_ms, losses, claimed_epoch, priority,
    owner, nodes.name, nodes.address, nodes.fingerprint, nodes.number IS NULL OR nodes.lost_at IS NOT NULL,
    ARRAY(SELECT checkpoint_id FROM checkpoints WHERE instance_number = instances.number ORDER BY seq),
    EXISTS (SELECT FROM signals WHERE instance_number = instances.number)
        OR EXISTS (SELECT FROM waits WHERE instance_number = instances.number)
FROM json_to_recordset(%(keys)s) AS wanted (tenant_id TEXT, instance_id TEXT)
JOIN instances USING (tenant_id, instance_id)
LEFT JOIN nodes ON nodes.number = instances.owner;

-- name: load_signal_ids
-- The ids of all signals of instances by a list of numbers, in order of arrival.
SELECT instance_number, signal_id FROM signals
WHERE instance_number = ANY(%(numbers)s)
ORDER BY seq, number;

-- name: load_signals
-- The signals not yet acknowledged of instances by a list of numbers; the fields of `Signal` in order.
SELECT instance_number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq FROM signals
WHERE instance_number = ANY(%(numbers)s) AND acknowledged_at IS NULL
ORDER BY seq, number;

-- name: load_waits
-- The waits of instances by a list of numbers; the fields of `Wait` in order.
SELECT instance_number, place, name, started_at, deadline_at, ended_at, signal_id FROM waits
WHERE instance_number = ANY(%(numbers)s)
ORDER BY number;

-- name: read_checkpoint
-- One checkpoint whose state is not longer; the fields of `Checkpoint` in order. (Both databases know a length without reading it all.)
SELECT checkpoint_id, state, epoch, created_at, wake_at, request FROM checkpoints
WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
) AND checkpoint_id = %(checkpoint_id)s AND length(state) <= %(longest)s;

-- name: read_signal
-- One signal; the fields of `Signal` in order.
SELECT signal_id, kind, sent_at, name, payload, acknowledged_at, seq FROM signals
WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
) AND signal_id = %(signal_id)s;

-- name: read_input
-- The input of an instance.
SELECT input FROM inputs WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
);

-- name: read_all
-- Inputs, outputs and checkpoints of instances, by a list that numbers them: the number, input or output, and the fields
-- of `Checkpoint` in order.
SELECT nth, CASE kind WHEN 'input' THEN input WHEN 'output' THEN output END,
    checkpoints.checkpoint_id, state, checkpoints.epoch, checkpoints.created_at, checkpoints.wake_at, request
FROM json_to_recordset(%(wanted)s) AS wanted (nth BIGINT, kind TEXT, tenant_id TEXT, instance_id TEXT, name TEXT)
JOIN instances USING (tenant_id, instance_id)
LEFT JOIN inputs ON kind = 'input' AND inputs.instance_number = instances.number
LEFT JOIN checkpoints ON kind IN ('checkpoint', 'short') AND checkpoints.instance_number = instances.number
    AND checkpoints.checkpoint_id = wanted.name AND (kind = 'checkpoint' OR octet_length(state) <= %(short)s);

-- name: read_env
-- The environment of an instance's program, as a JSON object.
SELECT env FROM environments WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
);

-- name: read_output
-- The output of an instance.
SELECT output FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s;

-- name: read_retries
-- The failed tries of a step; the fields of `Retry` in order.
SELECT checkpoint_id, attempt, recorded_at, error, retry_at FROM retries
WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
) AND checkpoint_id = %(checkpoint_id)s
ORDER BY attempt;

-- name: list_due
-- Instances that are to be launched, earliest first, behind a given one, without those of some tenants and programs: the
-- fields of `DueInstance` in order.
SELECT wake_at, tenant_id, instance_id, priority, program FROM instances
WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL
    AND wake_at <= %(until_ms)s AND (wake_at, tenant_id, instance_id) > (%(wake_at)s, %(tenant_id)s, %(instance_id)s)
    AND NOT CAST(%(tenants)s AS JSONB) ? tenant_id AND NOT CAST(%(programs)s AS JSONB) ? program
    AND (CAST(%(only_pools)s AS BOOLEAN) IS FALSE OR starts_with(program, 'pool:'))
    AND (
        CAST(%(pools)s AS JSONB) = 'null' OR NOT starts_with(program, 'pool:')
        OR CAST(%(pools)s AS JSONB) ? (tenant_id || ' ' || program)
    )
ORDER BY wake_at, tenant_id, instance_id
LIMIT %(limit)s;

-- name: list_running
-- Running instances of one node by key, behind a given one; the column before the last is when the newest attempt will
-- have used up what time the earlier ones left, or null where nothing limits it.
SELECT tenant_id, instance_id, epoch, program, claimed_at + timeout_ms - ran_ms, claimed_epoch FROM instances
WHERE status = 'running' AND owner = %(node)s
    AND (tenant_id, instance_id) > (%(tenant_id)s, %(instance_id)s)
ORDER BY tenant_id, instance_id
LIMIT %(limit)s;

-- name: list_instances
-- A tenant's instances by id, behind a given one; the fields of `InstanceSummary` in order.
SELECT instance_id, status, epoch, created_at, program, wake_at, started_at, finished_at, termination_reason
FROM instances
WHERE tenant_id = %(tenant_id)s AND instance_id > %(after)s
ORDER BY instance_id
LIMIT %(limit)s;

-- name: list_instances_by_status
-- The same, of one status.
SELECT instance_id, status, epoch, created_at, program, wake_at, started_at, finished_at, termination_reason
FROM instances
WHERE tenant_id = %(tenant_id)s AND status = %(status)s AND instance_id > %(after)s
ORDER BY instance_id
LIMIT %(limit)s;

-- name: list_checkpoints
-- An instance's checkpoints behind a given one: seq, then the fields of `CheckpointInfo` in order.
SELECT seq, checkpoint_id, epoch, created_at, length(state), wake_at FROM checkpoints
WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
) AND seq > %(after)s
ORDER BY seq
LIMIT %(limit)s;

-- name: list_events
-- An instance's events behind a given one, of one type or subtype where that is given; the fields of `Event` in order.
SELECT type, epoch, created_at, subtype, checkpoint_id, payload, request, seq FROM events
WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
) AND seq > %(after)s
    AND (CAST(%(type)s AS TEXT) IS NULL OR type = %(type)s)
    AND (CAST(%(subtype)s AS TEXT) IS NULL OR subtype = %(subtype)s)
ORDER BY seq
LIMIT %(limit)s;

-- name: list_newest_events
-- The same in front of a given one, the last event first.
SELECT type, epoch, created_at, subtype, checkpoint_id, payload, request, seq FROM events
WHERE instance_number = (
    SELECT number FROM instances WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s
) AND seq < %(before)s
    AND (CAST(%(type)s AS TEXT) IS NULL OR type = %(type)s)
    AND (CAST(%(subtype)s AS TEXT) IS NULL OR subtype = %(subtype)s)
ORDER BY seq DESC
LIMIT %(limit)s;

-- name: count_by_status
-- How many instances stand where.
SELECT status, count(*) FROM instances GROUP BY status;
