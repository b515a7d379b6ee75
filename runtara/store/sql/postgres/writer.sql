-- name: commit_round
-- Store saves of different instances, all at once: each changes its row if the stored version is the expected one and no
-- other node owns the instance, and what else belongs to it follows only then. Nothing happens under an old incarnation.
-- Commits and renewals are the same thing. Returns the node (null where it is fenced), the time, the refused saves, and how
-- many nodes there are; where there are others, they are told of what is due soon and of what they may wait for. What is
-- copied into a new instance is copied as it was before this statement, up to a checkpoint and the instant it was saved.
-- The parts in square brackets do that; they are left out where nothing is copied, because they take a tenth of the time.
-- Those in braces remove an instance that is replaced, before its successor is inserted; they are left out likewise. What
-- belongs to it is only ever stored with a new version, so that none of it is missed where the version is the expected one.
WITH me AS MATERIALIZED (
    UPDATE nodes SET batch = %(batch)s, lease_until = now_ms() + %(lease_ms)s, in_use = %(in_use)s,
        draining = %(draining)s
    WHERE number = %(node)s AND incarnation = %(incarnation)s AND lost_at IS NULL
    RETURNING number
),
others AS (
    SELECT number FROM nodes WHERE lost_at IS NULL AND number <> %(node)s
),
given AS MATERIALIZED (
    SELECT me.number AS node, line.*
    FROM me CROSS JOIN json_to_recordset(%(saves)s) AS line (
        save BIGINT, expected_version BIGINT, inserts BOOLEAN, told BOOLEAN, tenant_id TEXT, instance_id TEXT, status TEXT,
        version BIGINT, epoch BIGINT, created_at BIGINT, program TEXT, attempt_id TEXT, checkpoint_id TEXT,
        wake_at BIGINT, started_at BIGINT, finished_at BIGINT, heartbeat_at BIGINT, termination_reason TEXT,
        exit_code BIGINT, error TEXT, timeout_ms BIGINT, claimed_at BIGINT, ran_ms BIGINT, losses BIGINT,
        claimed_epoch BIGINT, priority BIGINT, output TEXT, input TEXT, env TEXT
    )
),
/*[*/
copying AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(copies)s) AS copy (
        save BIGINT, tenant_id TEXT, source_id TEXT, checkpoint_id TEXT, source_created_at BIGINT
    )
),
sources AS MATERIALIZED (
    SELECT save, source.number AS source_number, last.seq AS last_seq, last.created_at AS last_at
    FROM copying JOIN given USING (save, tenant_id)
    JOIN instances AS source ON source.tenant_id = copying.tenant_id AND source.instance_id = copying.source_id
    LEFT JOIN checkpoints AS last
        ON last.instance_number = source.number AND last.checkpoint_id = copying.checkpoint_id
    WHERE (copying.checkpoint_id IS NULL OR last.seq IS NOT NULL)
        AND (copying.source_created_at IS NULL OR source.created_at = copying.source_created_at)
),
/*]*/
/*{*/
replaced AS (
    DELETE FROM instances USING given
    WHERE instances.tenant_id = given.tenant_id AND instances.instance_id = given.instance_id
        AND given.inserts AND given.expected_version > 0 AND instances.version = given.expected_version
        AND (instances.owner IS NULL OR instances.owner = given.node)
    RETURNING given.save, instances.number
),
removed_inputs AS (DELETE FROM inputs WHERE instance_number IN (SELECT number FROM replaced)),
removed_environments AS (DELETE FROM environments WHERE instance_number IN (SELECT number FROM replaced)),
removed_checkpoints AS (DELETE FROM checkpoints WHERE instance_number IN (SELECT number FROM replaced)),
removed_events AS (DELETE FROM events WHERE instance_number IN (SELECT number FROM replaced)),
removed_signals AS (DELETE FROM signals WHERE instance_number IN (SELECT number FROM replaced)),
removed_waits AS (DELETE FROM waits WHERE instance_number IN (SELECT number FROM replaced)),
removed_retries AS (DELETE FROM retries WHERE instance_number IN (SELECT number FROM replaced)),
/*}*/
inserted AS (
    INSERT INTO instances (
        tenant_id, instance_id, status, version, epoch, created_at, program, attempt_id, checkpoint_id, wake_at,
        started_at, finished_at, heartbeat_at, termination_reason, exit_code, error, timeout_ms, claimed_at, ran_ms,
        losses, claimed_epoch, priority, output, owner, ran_on
    )
    SELECT tenant_id, instance_id, status, version, epoch, created_at, program, attempt_id, checkpoint_id, wake_at,
        started_at, finished_at, heartbeat_at, termination_reason, exit_code, decode(error, 'base64'), timeout_ms,
        claimed_at, ran_ms, losses, claimed_epoch, priority, decode(output, 'base64'),
        CASE status WHEN 'running' THEN node END, CASE status WHEN 'running' THEN node END
    FROM given
    WHERE inserts
        /*{*/ AND (expected_version = 0 OR save IN (SELECT save FROM replaced)) /*}*/
        /*[*/ AND (save NOT IN (SELECT save FROM copying) OR save IN (SELECT save FROM sources)) /*]*/
    ON CONFLICT (tenant_id, instance_id) DO NOTHING
    RETURNING number, tenant_id, instance_id
),
updated AS (
    UPDATE instances
    SET status = given.status, version = given.version, epoch = given.epoch, attempt_id = given.attempt_id,
        checkpoint_id = given.checkpoint_id, wake_at = given.wake_at, started_at = given.started_at,
        finished_at = given.finished_at, heartbeat_at = given.heartbeat_at,
        termination_reason = given.termination_reason, exit_code = given.exit_code,
        error = decode(given.error, 'base64'), claimed_at = given.claimed_at, ran_ms = given.ran_ms,
        losses = given.losses, claimed_epoch = given.claimed_epoch,
        output = coalesce(decode(given.output, 'base64'), instances.output),
        owner = CASE given.status WHEN 'running' THEN given.node END,
        ran_on = CASE given.status WHEN 'running' THEN given.node ELSE instances.ran_on END
    FROM given
    WHERE instances.tenant_id = given.tenant_id AND instances.instance_id = given.instance_id
        AND NOT given.inserts AND instances.version = given.expected_version
        AND (instances.owner IS NULL OR instances.owner = given.node)
    RETURNING given.save, instances.number
),
stored AS MATERIALIZED (
    SELECT given.save, inserted.number FROM inserted JOIN given USING (tenant_id, instance_id)
    WHERE given.inserts
    UNION ALL
    SELECT save, number FROM updated
),
stored_inputs AS (
    INSERT INTO inputs (instance_number, input)
    SELECT stored.number, decode(given.input, 'base64') FROM stored JOIN given USING (save)
    WHERE given.inserts AND given.input IS NOT NULL
),
stored_environments AS (
    INSERT INTO environments (instance_number, env)
    SELECT stored.number, given.env FROM stored JOIN given USING (save)
    WHERE given.inserts AND given.env IS NOT NULL
),
stored_checkpoints AS (
    INSERT INTO checkpoints (instance_number, checkpoint_id, state, epoch, created_at, wake_at, request)
    SELECT stored.number, checkpoint_id, decode(state, 'base64'), epoch, created_at, wake_at, request
    FROM json_to_recordset(%(checkpoints)s) AS checkpoint (
        save BIGINT, nth BIGINT, checkpoint_id TEXT, state TEXT, epoch BIGINT, created_at BIGINT, wake_at BIGINT,
        request BIGINT
    ) JOIN stored USING (save)
    ORDER BY nth
    ON CONFLICT (instance_number, checkpoint_id) DO NOTHING
),
stored_events AS (
    INSERT INTO events (instance_number, type, epoch, created_at, subtype, checkpoint_id, payload, request)
    SELECT stored.number, type, event.epoch, created_at, subtype, checkpoint_id, decode(payload, 'base64'),
        event.request
    FROM json_to_recordset(%(events)s) AS event (
        save BIGINT, nth BIGINT, type TEXT, epoch BIGINT, created_at BIGINT, subtype TEXT, checkpoint_id TEXT,
        payload TEXT, request BIGINT
    ) JOIN stored USING (save)
    WHERE event.request IS NULL OR NOT EXISTS (
        SELECT FROM events
        WHERE events.instance_number = stored.number AND events.epoch = event.epoch AND events.request = event.request
    )
    ORDER BY nth
    ON CONFLICT (instance_number, epoch, request) WHERE request IS NOT NULL DO NOTHING
),
stored_signals AS (
    INSERT INTO signals (instance_number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq)
    SELECT stored.number, signal_id, kind, sent_at, name, decode(payload, 'base64'), acknowledged_at, seq
    FROM json_to_recordset(%(signals)s) AS signal (
        save BIGINT, nth BIGINT, signal_id TEXT, kind TEXT, sent_at BIGINT, name TEXT, payload TEXT,
        acknowledged_at BIGINT, seq BIGINT
    ) JOIN stored USING (save)
    ORDER BY nth
    ON CONFLICT (instance_number, signal_id) DO NOTHING
),
acknowledged_signals AS (
    UPDATE signals SET acknowledged_at = acknowledgement.at
    FROM json_to_recordset(%(acknowledged)s) AS acknowledgement (save BIGINT, signal_id TEXT, at BIGINT)
    JOIN stored USING (save)
    WHERE signals.instance_number = stored.number AND signals.signal_id = acknowledgement.signal_id
        AND signals.acknowledged_at IS NULL
),
stored_waits AS (
    INSERT INTO waits (instance_number, place, name, started_at, deadline_at, ended_at, signal_id)
    SELECT stored.number, place, name, started_at, deadline_at, ended_at, signal_id
    FROM json_to_recordset(%(waits)s) AS wait (
        save BIGINT, nth BIGINT, place TEXT, name TEXT, started_at BIGINT, deadline_at BIGINT, ended_at BIGINT,
        signal_id TEXT
    ) JOIN stored USING (save)
    ORDER BY nth
    ON CONFLICT (instance_number, place) DO UPDATE SET ended_at = excluded.ended_at, signal_id = excluded.signal_id
    WHERE waits.ended_at IS NULL AND excluded.ended_at IS NOT NULL
),
stored_retries AS (
    INSERT INTO retries (instance_number, checkpoint_id, attempt, recorded_at, error, retry_at)
    SELECT stored.number, checkpoint_id, attempt, recorded_at, decode(error, 'base64'), retry_at
    FROM json_to_recordset(%(retries)s) AS retry (
        save BIGINT, nth BIGINT, checkpoint_id TEXT, attempt BIGINT, recorded_at BIGINT, error TEXT, retry_at BIGINT
    ) JOIN stored USING (save)
    ORDER BY nth
    ON CONFLICT DO NOTHING
),
/*[*/
copied_checkpoints AS (
    INSERT INTO checkpoints (instance_number, checkpoint_id, state, epoch, created_at, wake_at)
    SELECT stored.number, checkpoint_id, state, epoch, created_at, wake_at
    FROM sources JOIN stored USING (save) JOIN checkpoints ON checkpoints.instance_number = source_number
    WHERE last_seq IS NULL OR seq <= last_seq
    ORDER BY save, seq
),
copied_waits AS (
    INSERT INTO waits (instance_number, place, name, started_at, deadline_at, ended_at, signal_id)
    SELECT stored.number, place, name, started_at, deadline_at, ended_at, signal_id
    FROM sources JOIN stored USING (save) JOIN waits ON waits.instance_number = source_number
    WHERE ended_at IS NOT NULL AND (last_at IS NULL OR ended_at <= last_at)
    ORDER BY save, waits.number
    RETURNING instance_number, signal_id
),
copied_signals AS (
    INSERT INTO signals (instance_number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq)
    SELECT stored.number, signal_id, kind, sent_at, name, payload, acknowledged_at, seq
    FROM sources JOIN stored USING (save) JOIN signals ON signals.instance_number = source_number
    WHERE (stored.number, signal_id) IN (SELECT instance_number, signal_id FROM copied_waits)
    ORDER BY save, signals.number
),
/*]*/
refused AS (
    INSERT INTO refusals (node, batch, saves)
    SELECT node, %(batch)s, array_agg(save) FROM given
    WHERE save NOT IN (SELECT save FROM stored)
    GROUP BY node
    ON CONFLICT (node) DO UPDATE SET batch = excluded.batch, saves =
        CASE refusals.batch WHEN excluded.batch THEN refusals.saves || excluded.saves ELSE excluded.saves END
    RETURNING saves
),
notified AS (
    SELECT pg_notify('runtara_due', CAST(min(wake_at) AS TEXT)) FROM given
    WHERE status IN ('pending', 'suspended') AND program IS NOT NULL AND wake_at < now_ms() + %(soon_ms)s
        AND save IN (SELECT save FROM stored) AND EXISTS (SELECT FROM others)
    HAVING count(*) > 0
),
told AS (
    SELECT pg_notify('runtara_changed', CASE WHEN count(*) > 200 THEN '*' ELSE string_agg(
        left(md5(tenant_id || ' ' || instance_id), 16) || ' #' || stored.number, ' '
    ) END)
    FROM given JOIN stored USING (save)
    WHERE told AND EXISTS (SELECT FROM others)
    HAVING count(*) > 0
)
SELECT (SELECT number FROM me), now_ms(), (SELECT saves FROM refused),
    (SELECT count(*) FROM nodes WHERE lost_at IS NULL), (SELECT count(*) FROM notified), (SELECT count(*) FROM told);

-- name: begin_change
-- Begin a change of something else than instances: it has a number, too, by which it is known whether it is stored where
-- its answer was lost. Returns nothing under an old incarnation.
UPDATE nodes SET batch = %(batch)s
WHERE number = %(node)s AND incarnation = %(incarnation)s AND lost_at IS NULL
RETURNING number;

-- name: record_heartbeats
-- When running instances of a node were last heard of; never moved back by a late report.
UPDATE instances SET heartbeat_at = beat.at
FROM json_to_recordset(%(beats)s) AS beat (tenant_id TEXT, instance_id TEXT, at BIGINT)
WHERE instances.tenant_id = beat.tenant_id AND instances.instance_id = beat.instance_id
    AND status = 'running' AND owner = %(node)s AND (heartbeat_at IS NULL OR heartbeat_at < beat.at);
