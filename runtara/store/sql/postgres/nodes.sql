-- name: open_node
-- Begin a tenure, or go on with the one that a node of this name has left: a restart within the lease. Whoever else
-- speaks for the tenure is fenced by the higher incarnation; those between are for this process to connect again.
INSERT INTO nodes (name, address, version, opened_at, places, lease_until)
VALUES (%(name)s, %(address)s, %(version)s, now_ms(), %(places)s, now_ms() + %(lease_ms)s)
ON CONFLICT (name) WHERE lost_at IS NULL DO UPDATE SET
    address = excluded.address, version = excluded.version, opened_at = excluded.opened_at, places = excluded.places,
    in_use = 0, draining = FALSE, incarnation = nodes.incarnation + 4294967296, lease_until = excluded.lease_until
RETURNING number, incarnation, batch, now_ms();

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

-- name: end_lease
-- A node that comes to its end lets others take over at once what it still owns.
UPDATE nodes SET lease_until = 0 WHERE number = %(node)s AND incarnation = %(incarnation)s;
