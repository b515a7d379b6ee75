-- name: find_number
-- The number of an instance.
SELECT number FROM instances WHERE tenant_id = ? AND instance_id = ?;

-- name: insert_instance
-- A new instance, unless it exists; ?1 to ?22 are the fields of `Instance` in order.
INSERT INTO instances (
    tenant_id, instance_id, status, version, epoch, created_at, program, attempt_id, checkpoint_id, wake_at,
    started_at, finished_at, heartbeat_at, termination_reason, exit_code, error, timeout_ms, claimed_at, ran_ms, losses,
    claimed_epoch, priority, output
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23
)
ON CONFLICT DO NOTHING;

-- name: find_last_event
-- The last seq of all events, or 0.
SELECT coalesce(max(seq), 0) FROM events;

-- name: remove_instance
-- An instance whose version is the expected one; all that belongs to it goes with it.
DELETE FROM instances WHERE tenant_id = ? AND instance_id = ? AND version = ?;

-- name: insert_input
-- The input of a new instance.
INSERT INTO inputs (instance_number, input) VALUES (?, ?);

-- name: insert_env
-- The environment of a new instance's program, as a JSON object.
INSERT INTO environments (instance_number, env) VALUES (?, ?);

-- name: update_instance
-- The new row of an instance whose version is the expected one; ?1 to ?22 are the fields of `Instance` in order.
UPDATE instances
SET status = ?3, version = ?4, epoch = ?5, attempt_id = ?8, checkpoint_id = ?9, wake_at = ?10, started_at = ?11,
    finished_at = ?12, heartbeat_at = ?13, termination_reason = ?14, exit_code = ?15, error = ?16,
    claimed_at = ?18, ran_ms = ?19, losses = ?20, claimed_epoch = ?21, output = coalesce(?23, output)
WHERE number = ?24 AND version = ?25;

-- name: update_running
-- The same for an instance that was running and goes on running: the most frequent change, which touches no index,
-- needs no check and no trigger, and takes a third of the time.
UPDATE instances
SET version = ?, epoch = ?, attempt_id = ?, checkpoint_id = ?, started_at = ?, heartbeat_at = ?, claimed_at = ?,
    ran_ms = ?, losses = ?, claimed_epoch = ?
WHERE number = ? AND version = ? AND status = 'running' AND wake_at IS NULL AND finished_at IS NULL
    AND termination_reason IS NULL AND exit_code IS NULL AND error IS NULL;

-- name: insert_checkpoint
-- A checkpoint, unless its id is taken; the fields of `Checkpoint` in order.
INSERT INTO checkpoints (instance_number, checkpoint_id, state, epoch, created_at, wake_at, request)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance_number, checkpoint_id) DO NOTHING;

-- name: insert_event
-- A line of the audit log, unless the same request wrote it before; the fields of `Event` in order, but for the seq,
-- which is assigned here.
INSERT INTO events (instance_number, type, epoch, created_at, subtype, checkpoint_id, payload, request)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance_number, epoch, request) WHERE request IS NOT NULL DO NOTHING;

-- name: insert_event_at
-- The same with a seq behind all that there are, and were; that is the first value.
INSERT INTO events (seq, instance_number, type, epoch, created_at, subtype, checkpoint_id, payload, request)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance_number, epoch, request) WHERE request IS NOT NULL DO NOTHING;

-- name: insert_signal
-- A signal, unless it was sent before; the fields of `Signal` in order.
INSERT INTO signals (instance_number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance_number, signal_id) DO NOTHING;

-- name: acknowledge_signal
-- The first acknowledgement of a signal counts.
UPDATE signals SET acknowledged_at = ?3
WHERE instance_number = ?1 AND signal_id = ?2 AND acknowledged_at IS NULL;

-- name: insert_wait
-- A wait begun, or the end of one that had none; the fields of `Wait` in order.
INSERT INTO waits (instance_number, place, name, started_at, deadline_at, ended_at, signal_id)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance_number, place) DO UPDATE SET ended_at = excluded.ended_at, signal_id = excluded.signal_id
WHERE waits.ended_at IS NULL AND excluded.ended_at IS NOT NULL;

-- name: insert_retry
-- A failed try, unless it was counted before; the fields of `Retry` in order.
INSERT INTO retries (instance_number, checkpoint_id, attempt, recorded_at, error, retry_at)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: find_source
-- What may be copied: the number of an instance, and the seq and the instant of its last checkpoint that is meant, which
-- are null where all are.
SELECT instances.number, checkpoints.seq, checkpoints.created_at
FROM instances LEFT JOIN checkpoints
    ON checkpoints.instance_number = instances.number AND checkpoints.checkpoint_id = :checkpoint_id
WHERE tenant_id = :tenant_id AND instance_id = :instance_id AND (:checkpoint_id IS NULL OR checkpoints.seq IS NOT NULL)
    AND (:created_at IS NULL OR instances.created_at = :created_at);

-- name: copy_checkpoints
-- The checkpoints of another instance up to the last one that is meant, in the order in which they were saved.
INSERT INTO checkpoints (instance_number, checkpoint_id, state, epoch, created_at, wake_at)
SELECT :number, checkpoint_id, state, epoch, created_at, wake_at FROM checkpoints
WHERE instance_number = :source AND (:last_seq IS NULL OR seq <= :last_seq)
ORDER BY seq;

-- name: copy_waits
-- The waits of another instance that had ended by then.
INSERT INTO waits (instance_number, place, name, started_at, deadline_at, ended_at, signal_id)
SELECT :number, place, name, started_at, deadline_at, ended_at, signal_id FROM waits
WHERE instance_number = :source AND ended_at IS NOT NULL AND (:last_at IS NULL OR ended_at <= :last_at)
ORDER BY number;

-- name: copy_signals
-- The signals of another instance that waits have found which were copied before.
INSERT INTO signals (instance_number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq)
SELECT :number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq FROM signals
WHERE instance_number = :source AND signal_id IN (SELECT signal_id FROM waits WHERE instance_number = :number)
ORDER BY number;

-- name: record_heartbeat
-- When a running instance was last heard of; never moved back by a late report.
UPDATE instances SET heartbeat_at = ?3
WHERE tenant_id = ?1 AND instance_id = ?2 AND status = 'running' AND (heartbeat_at IS NULL OR heartbeat_at < ?3);
