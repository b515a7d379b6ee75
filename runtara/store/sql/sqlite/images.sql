-- name: find_image
-- An image that is not deleted: its number, then the fields of `Image` in order. Nobody else writes meanwhile.
SELECT number, tenant_id, image_id, name, version, created_at, updated_at FROM images
WHERE tenant_id = :tenant_id AND image_id = :image_id AND deleted_at IS NULL;

-- name: find_image_named
-- The same by its name.
SELECT number, tenant_id, image_id, name, version, created_at, updated_at FROM images
WHERE tenant_id = :tenant_id AND name = :name AND deleted_at IS NULL;

-- name: insert_image
-- A new image without versions, unless there is one of its id or its name.
INSERT INTO images (tenant_id, image_id, name, version, created_at, updated_at)
VALUES (:tenant_id, :image_id, :name, 1, :created_at, :created_at)
ON CONFLICT DO NOTHING;

-- name: find_image_version
-- A version of an image; the fields of `ImageVersion` in order.
SELECT version, digest, size, kind, created_at, description, metadata, defaults, options FROM image_versions
WHERE image_number = :number AND version = :version;

-- name: number_image_version
-- The number of the next version of an image.
SELECT coalesce(max(version), 0) + 1 FROM image_versions WHERE image_number = :number;

-- name: insert_image_version
-- A version of an image; the fields of `ImageVersion` in order.
INSERT INTO image_versions (
    image_number, version, digest, size, kind, created_at, description, metadata, defaults, options
)
VALUES (
    :number, :version, :digest, :size, :kind, :created_at, :description, :metadata, :defaults, :options
);

-- name: update_image
-- Another version of an image is the current one.
UPDATE images SET version = :version, updated_at = :at WHERE number = :number;

-- name: list_image_users
-- Some unfinished instances that use any version of an image, whose number stands behind an "@", on which "A" follows.
SELECT instance_id FROM instances
WHERE tenant_id = :tenant_id AND (status = 'pending' OR status = 'running' OR status = 'suspended')
    AND substr(program, 1, 6) = 'image:'
    AND program >= 'image:' || :image_id || '@' AND program < 'image:' || :image_id || 'A'
ORDER BY program, instance_id
LIMIT :limit;

-- name: delete_image
-- An image is no longer there, but for those that are about to run it.
UPDATE images SET deleted_at = :at WHERE number = :number;

-- name: list_spare_versions
-- Versions that nobody needs: the number, tenant and id of the image, and the version. Of an image that is not deleted,
-- the newest stay.
SELECT images.number, images.tenant_id, images.image_id, image_versions.version
FROM images JOIN image_versions ON image_versions.image_number = images.number
WHERE (
        deleted_at < :deleted_before
        OR deleted_at IS NULL AND image_versions.version <> images.version AND (
            SELECT count(*) FROM image_versions AS newer
            WHERE newer.image_number = images.number AND newer.version > image_versions.version
        ) >= :keep_versions
    )
    AND NOT EXISTS (
        SELECT 1 FROM instances
        WHERE instances.tenant_id = images.tenant_id AND (status = 'pending' OR status = 'running' OR status = 'suspended')
            AND substr(program, 1, 6) = 'image:'
            AND program = 'image:' || images.image_id || '@' || image_versions.version
    )
ORDER BY images.number, image_versions.version
LIMIT :limit;

-- name: delete_image_version
-- A version of an image; returns it, unless it is gone already.
DELETE FROM image_versions WHERE image_number = :number AND version = :version RETURNING version;

-- name: forget_image
-- A deleted image that has no versions any more.
DELETE FROM images
WHERE number = :number AND deleted_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM image_versions WHERE image_versions.image_number = images.number);

-- name: read_image
-- An image that is not deleted, by its id before its name; the fields of `Image` in order.
SELECT tenant_id, image_id, name, version, created_at, updated_at FROM images
WHERE tenant_id = :tenant_id AND deleted_at IS NULL AND (image_id = :name_or_id OR name = :name_or_id)
ORDER BY image_id = :name_or_id DESC
LIMIT 1;

-- name: read_image_version
-- A version of an image, which may be deleted; the fields of `ImageVersion` in order.
SELECT version, digest, size, kind, created_at, description, metadata, defaults, options FROM image_versions
WHERE image_number = (SELECT number FROM images WHERE tenant_id = :tenant_id AND image_id = :image_id)
    AND version = :version;

-- name: list_images
-- A tenant's images by name, behind a given one; the fields of `Image` in order.
SELECT tenant_id, image_id, name, version, created_at, updated_at FROM images
WHERE tenant_id = :tenant_id AND deleted_at IS NULL AND name > :after
ORDER BY name
LIMIT :limit;

-- name: list_image_versions
-- The versions of an image, newest first, before a given one; the fields of `ImageVersion` in order.
SELECT version, digest, size, kind, created_at, description, metadata, defaults, options FROM image_versions
WHERE image_number = (
        SELECT number FROM images WHERE tenant_id = :tenant_id AND image_id = :image_id AND deleted_at IS NULL
    )
    AND version < :before
ORDER BY version DESC
LIMIT :limit;

-- name: list_digests
-- The digests of all versions, each once, behind a given one.
SELECT DISTINCT digest FROM image_versions WHERE digest > :after ORDER BY digest LIMIT :limit;
