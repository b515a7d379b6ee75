-- What a host needs to know of the programs that it launches, and the numbers by which a call that is sent again is
-- recognised.

ALTER TABLE instances ADD COLUMN timeout_ms INTEGER;

ALTER TABLE instances ADD COLUMN claimed_at INTEGER;

ALTER TABLE instances ADD COLUMN ran_ms INTEGER NOT NULL DEFAULT 0;

ALTER TABLE instances ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;

ALTER TABLE instances ADD COLUMN claimed_epoch INTEGER;

-- Whoever runs a program of this host was launched by it.
UPDATE instances SET claimed_epoch = epoch WHERE status = 'running' AND program IS NOT NULL;

ALTER TABLE checkpoints ADD COLUMN request INTEGER;

ALTER TABLE events ADD COLUMN request INTEGER;

-- Partial, so that the events without a number, which are most, cost nothing.
CREATE UNIQUE INDEX events_of_request ON events (instance_number, epoch, request) WHERE request IS NOT NULL;

-- Beside the instances, as their inputs; a JSON object of names and values.
CREATE TABLE environments (
    instance_number INTEGER PRIMARY KEY REFERENCES instances ON DELETE CASCADE,
    env TEXT NOT NULL
) STRICT;

CREATE TRIGGER environments_stay BEFORE UPDATE ON environments
BEGIN
    SELECT RAISE(ABORT, 'an environment never changes');
END;
