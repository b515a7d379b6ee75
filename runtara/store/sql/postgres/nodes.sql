-- name: open_node
-- Begin a tenure, or go on with the one that a node of this name has left: a restart within the lease. Whoever else
-- speaks for the tenure is fenced by the higher incarnation; those between are for this process to connect again.
INSERT INTO nodes (name, address, fingerprint, version, opened_at, places, lease_until)
VALUES (
    %(name)s, %(address)s, %(fingerprint)s, %(version)s, now_ms(), %(places)s, now_ms() + %(lease_ms)s
)
ON CONFLICT (name) WHERE lost_at IS NULL DO UPDATE SET
    address = excluded.address, fingerprint = excluded.fingerprint, version = excluded.version,
    opened_at = excluded.opened_at, places = excluded.places, in_use = 0, draining = FALSE,
    incarnation = nodes.incarnation + 4294967296, lease_until = excluded.lease_until
RETURNING number, incarnation, batch, now_ms();

-- name: inherit
-- What a node owned that was declared lost, or had ended, and comes back under its name before others have taken over.
UPDATE instances SET owner = %(node)s FROM nodes
WHERE instances.owner = nodes.number AND nodes.name = %(name)s AND nodes.lost_at IS NOT NULL;

-- name: settle_batch
-- Fence the earlier connections of this process, wait for what they have begun, and say what became of its last batch.
-- One of them may have settled, too, without hearing of it: any incarnation below the next one is still this process.
UPDATE nodes SET incarnation = %(next)s, lease_until = now_ms() + %(lease_ms)s
WHERE number = %(node)s AND incarnation >= %(incarnation)s AND incarnation < %(next)s AND lost_at IS NULL
RETURNING incarnation, batch, now_ms(),
    (SELECT saves FROM refusals WHERE refusals.node = nodes.number AND refusals.batch = nodes.batch);

-- name: read_node
-- Whether a tenure has ended, and with which batch: nothing is written under it any more.
SELECT lost_at IS NOT NULL, batch,
    (SELECT saves FROM refusals WHERE refusals.node = nodes.number AND refusals.batch = nodes.batch)
FROM nodes WHERE number = %(node)s;

-- name: end_tenure
-- A node that comes to its end says so, and others take over at once what it still owns.
WITH ended AS (
    UPDATE nodes SET lost_at = now_ms()
    WHERE number = %(node)s AND incarnation = %(incarnation)s AND lost_at IS NULL
    RETURNING number
)
SELECT pg_notify('runtara_nodes', CAST(number AS TEXT)) FROM ended;

-- name: present
-- The other nodes know this one by another certificate from now on.
UPDATE nodes SET fingerprint = %(fingerprint)s
WHERE number = %(node)s AND incarnation = %(incarnation)s AND lost_at IS NULL
RETURNING number;

-- name: declare_lost
-- End the tenure of every other node whose lease has run out. Whoever is committing right now renews it meanwhile, and
-- is waited for. Returns the names of those that this call has ended.
UPDATE nodes SET lost_at = now_ms()
WHERE lost_at IS NULL AND lease_until < now_ms() AND number <> %(node)s
RETURNING name;

-- name: take_over
-- Take some of what lost nodes have owned, and what runs and nobody owns. What was only about to run is free again. With
-- `again`, return also what was taken before, and not acted upon: the answer was lost.
WITH me AS MATERIALIZED (
    SELECT number FROM nodes
    WHERE number = %(node)s AND incarnation = %(incarnation)s AND lost_at IS NULL
    FOR NO KEY UPDATE
),
owned AS (
    SELECT instances.number
    FROM nodes JOIN instances ON instances.owner = nodes.number
    WHERE nodes.lost_at IS NOT NULL
    LIMIT %(limit)s
    FOR UPDATE OF instances SKIP LOCKED
),
stray AS (
    SELECT number FROM instances WHERE status = 'running' AND owner IS NULL
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
untold AS (
    SELECT instances.number FROM instances JOIN me ON owner = me.number
    WHERE CAST(%(again)s AS BOOLEAN) AND status = 'running' AND ran_on IS DISTINCT FROM me.number
),
taken AS (
    UPDATE instances SET owner = CASE status WHEN 'running' THEN me.number END
    FROM me, (
        (SELECT number FROM owned UNION SELECT number FROM stray LIMIT %(limit)s) UNION SELECT number FROM untold
    ) AS chosen
    WHERE instances.number = chosen.number
    RETURNING tenant_id, instance_id, status, epoch, program, claimed_epoch
),
notified AS (
    SELECT pg_notify('runtara_due', CAST(now_ms() AS TEXT)) FROM taken WHERE status <> 'running' HAVING count(*) > 0
)
SELECT taken.*, (SELECT count(*) FROM notified) FROM taken;

-- name: forget_lost
-- Remove lost nodes that own nothing any more and were lost a while ago. Where one of that name lives, it still keeps
-- what programs wrote in earlier tenures, and is found by them.
DELETE FROM nodes
WHERE lost_at < now_ms() - %(kept_ms)s AND NOT EXISTS (SELECT FROM instances WHERE owner = nodes.number)
    AND NOT EXISTS (SELECT FROM nodes AS again WHERE again.name = nodes.name AND again.lost_at IS NULL);

-- name: claim_due
-- Claim instances that are due, for this node to wake: its share of them, the tenants in turn, of each tenant those of
-- the highest priority first, then the earliest; a rank is a tenant and one of its priorities. The nodes that have room
-- stand in a row, the least busy first, and each takes its own slice of what is due; with the next `turn` everybody moves
-- on by one slice, so that what one leaves another takes. Who is barred, for want of places here, is left out. What the
-- workers of a pool run grows more urgent as it waits: one step of priority is worth so many milliseconds of that.
-- Returns what was claimed, in that order, as the fields of `DueInstance`, and with each row how many were due, as far as
-- they were counted. The time is read once, so that an index is read no further than to where nothing is due any more:
-- many may sleep. What is chosen is looked up one by one, in whatever way the rest is planned: a plan that was made while
-- there was nothing would find all that sleep, and make the choice anew for each.
WITH RECURSIVE clock AS MATERIALIZED (
    SELECT now_ms() AS now_ms
),
rooms AS (
    SELECT number, row_number() OVER (ORDER BY in_use, number) - 1 AS rank, count(*) OVER () AS many
    FROM nodes
    WHERE lost_at IS NULL AND NOT draining AND lease_until >= now_ms() AND (places IS NULL OR in_use < places)
),
me AS MATERIALIZED (
    SELECT nodes.number, coalesce(rooms.rank, 0) AS rank, coalesce(rooms.many, 1) AS many
    FROM nodes LEFT JOIN rooms USING (number)
    WHERE number = %(node)s AND incarnation = %(incarnation)s AND lost_at IS NULL
    FOR NO KEY UPDATE OF nodes
),
ranks (tenant_id, priority) AS (
    (
        SELECT tenant_id, priority FROM instances
        WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL AND owner IS NULL
        ORDER BY tenant_id, priority LIMIT 1
    )
    UNION ALL
    SELECT next.tenant_id, next.priority FROM ranks CROSS JOIN LATERAL (
        SELECT tenant_id, priority FROM instances
        WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL AND owner IS NULL
            AND (instances.tenant_id, instances.priority) > (ranks.tenant_id, ranks.priority)
        ORDER BY tenant_id, priority LIMIT 1
    ) AS next
),
queued AS (
    SELECT found.number, found.wake_at, found.pooled, row_number() OVER (
        PARTITION BY ranks.tenant_id ORDER BY
            CASE WHEN found.pooled THEN 0 ELSE -ranks.priority END,
            found.wake_at - CASE WHEN found.pooled THEN ranks.priority * %(aging_ms)s ELSE 0 END,
            found.instance_id
    ) AS turn
    FROM ranks CROSS JOIN LATERAL (
        SELECT number, wake_at, instance_id, starts_with(program, 'pool:') AS pooled FROM instances
        WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL AND owner IS NULL
            AND instances.tenant_id = ranks.tenant_id AND instances.priority = ranks.priority
            AND wake_at <= (SELECT now_ms FROM clock)
            AND (
                CASE WHEN starts_with(program, 'pool:')
                THEN CAST(%(pools)s AS TEXT[]) IS NULL OR tenant_id || ' ' || program = ANY(%(pools)s)
                ELSE NOT %(only_pools)s AND (CAST(%(programs)s AS TEXT[]) IS NULL OR program = ANY(%(programs)s))
                END
            )
            AND program <> ALL(CAST(%(barred_programs)s AS TEXT[]))
        ORDER BY wake_at, instance_id
        LIMIT %(window)s
    ) AS found
    WHERE ranks.tenant_id <> ALL(CAST(%(barred_tenants)s AS TEXT[]))
),
due AS MATERIALIZED (
    SELECT number, pooled, row_number() OVER (ORDER BY turn, wake_at, number) - 1 AS place, count(*) OVER () AS many
    FROM queued
    ORDER BY turn, wake_at, number
    LIMIT %(window)s
),
mine AS (
    SELECT due.number, place, pooled, count(*) FILTER (WHERE pooled) OVER (ORDER BY place) AS nth_pooled
    FROM due CROSS JOIN me
    WHERE place / ceil(due.many / CAST(me.many AS NUMERIC)) >= mod(me.rank + %(turn)s, me.many)
        AND place / ceil(due.many / CAST(me.many AS NUMERIC)) < mod(me.rank + %(turn)s, me.many) + 1
),
slice AS (
    SELECT number FROM mine
    WHERE NOT pooled OR CAST(%(slots)s AS BIGINT) IS NULL OR nth_pooled <= %(slots)s
    ORDER BY place
    LIMIT %(limit)s
),
chosen AS MATERIALIZED (
    SELECT held.number FROM slice CROSS JOIN LATERAL (
        SELECT number, owner, status, wake_at FROM instances WHERE instances.number = slice.number
        OFFSET 0 FOR UPDATE SKIP LOCKED
    ) AS held
    WHERE owner IS NULL AND status IN ('pending', 'suspended') AND wake_at IS NOT NULL
),
claimed AS (
    UPDATE instances SET owner = me.number FROM chosen, me
    WHERE instances.number = chosen.number
    RETURNING instances.number, wake_at, tenant_id, instance_id, priority, program, version, created_at
),
busier AS (
    UPDATE nodes SET in_use = in_use + (SELECT count(*) FROM claimed) FROM me
    WHERE nodes.number = me.number AND EXISTS (SELECT FROM claimed)
)
SELECT claimed.wake_at, tenant_id, instance_id, priority, program, version, created_at, (SELECT coalesce(max(many), 0) FROM due)
FROM (SELECT NULL) AS always LEFT JOIN (claimed JOIN due USING (number)) ON true
ORDER BY place;

-- name: find_next_due
-- When the next instance is due that may be claimed, and what time it is, which is read once: see `claim_due`. That it has
-- no owner is asked in such a way that only the index in the order of time fits, and that no row of it is taken for rare:
-- else all that sleep would be looked at, to find the first.
WITH clock AS MATERIALIZED (
    SELECT now_ms() AS now_ms
)
SELECT (
    SELECT wake_at FROM instances
    WHERE status IN ('pending', 'suspended') AND wake_at IS NOT NULL AND program IS NOT NULL AND coalesce(owner, 0) < 1
        AND wake_at > (SELECT now_ms FROM clock)
    ORDER BY wake_at LIMIT 1
), now_ms FROM clock;

-- name: release_claim
-- Give back what was claimed and could not be woken, by a list of keys.
UPDATE instances SET owner = NULL
FROM json_to_recordset(%(keys)s) AS given_back (tenant_id TEXT, instance_id TEXT)
WHERE instances.tenant_id = given_back.tenant_id AND instances.instance_id = given_back.instance_id
    AND owner = %(node)s AND status <> 'running';

-- name: release_claims
-- Give back all that this node has claimed and does not run, as it may not have heard of it.
WITH released AS (
    UPDATE instances SET owner = NULL WHERE owner = %(node)s AND status <> 'running' RETURNING number
)
SELECT pg_notify('runtara_due', CAST(now_ms() AS TEXT)) FROM released HAVING count(*) > 0;

-- name: tell_tasks
-- Tell the other nodes that tasks wait here for a worker; nobody is told by a node that was declared lost.
SELECT pg_notify('runtara_tasks', concat_ws(' ', number, CAST(%(tenant_id)s AS TEXT), CAST(%(program)s AS TEXT)))
FROM nodes WHERE number = %(node)s AND incarnation = %(incarnation)s AND lost_at IS NULL;

-- name: list_nodes
-- The nodes that share the database: the fields of `NodeInfo` in order. Who came back long ago is listed once.
SELECT name, address, version, opened_at, places, in_use, draining, lease_until - now_ms(), lost_at,
    (SELECT count(*) FROM instances WHERE owner = nodes.number)
FROM nodes
WHERE lost_at IS NULL OR lost_at >= now_ms() - %(kept_ms)s
    OR NOT EXISTS (SELECT FROM nodes AS again WHERE again.name = nodes.name AND again.lost_at IS NULL)
ORDER BY lost_at IS NOT NULL, name, number;

-- name: list_peers
-- The other nodes that live and have an address: the fields of `Holder` in order.
SELECT number, name, address, fingerprint, FALSE FROM nodes
WHERE lost_at IS NULL AND lease_until >= now_ms() AND address IS NOT NULL AND number <> %(node)s
ORDER BY name;

-- name: find_log_node
-- The node that ran an instance last, unless it is this one: the fields of `Holder` in order. Where it came back under
-- its name, what it is now.
SELECT coalesce(now.number, ran_on), now.name, now.address, now.fingerprint, now.lost_at IS NOT NULL OR now.number IS NULL
FROM instances LEFT JOIN nodes AS ran ON ran.number = ran_on
LEFT JOIN LATERAL (
    SELECT number, name, address, fingerprint, lost_at FROM nodes
    WHERE nodes.name = ran.name
    ORDER BY lost_at IS NOT NULL, number DESC
    LIMIT 1
) AS now ON TRUE
WHERE tenant_id = %(tenant_id)s AND instance_id = %(instance_id)s AND coalesce(now.number, ran_on) <> %(node)s;

-- name: read_documents
-- What all nodes must agree on.
SELECT name, content, version FROM documents ORDER BY name;

-- name: offer_document
-- Keep a document unless there is one of its name.
INSERT INTO documents (name, content) VALUES (%(name)s, %(content)s) ON CONFLICT (name) DO NOTHING;

-- name: write_document
-- Keep a new version of a document, where its version is still the expected one, and have all nodes told.
WITH written AS (
    INSERT INTO documents (name, content) VALUES (%(name)s, %(content)s)
    ON CONFLICT (name) DO UPDATE SET content = excluded.content, version = documents.version + 1
    WHERE documents.version = %(version)s
    RETURNING version
)
SELECT version, pg_notify('runtara_nodes', 'documents') FROM written;
