-- Lists of instances in the order in which they were created or have finished. The status stands first, so that those of
-- one can be found however many there are of the others; where several are wanted, their lists are merged.

CREATE INDEX instances_created ON instances (tenant_id, status, created_at, instance_id);

CREATE INDEX instances_ended ON instances (tenant_id, status, finished_at, instance_id)
WHERE finished_at IS NOT NULL;
