-- The registry: one row a tenant. The truth about a tenant's version stands in
-- goose_db_version of its own schema; schema_version is a cache of it that is
-- written in the same transaction.

-- +goose Up
create table tenants (
    id             uuid        primary key,
    slug           text        not null,
    display_name   text        not null,
    schema_name    text        not null,
    status         text        not null default 'active',
    role_name      text,
    schema_version bigint      not null default 0,
    settings       jsonb       not null default '{}',
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    deleted_at     timestamptz,
    purge_after    timestamptz,
    constraint tenants_slug_key unique (slug),
    constraint tenants_schema_name_key unique (schema_name),
    constraint tenants_status_known check (status in ('active', 'suspended', 'deleted')),
    constraint tenants_schema_name_length check (octet_length(schema_name) between 1 and 63),
    constraint tenants_settings_object check (jsonb_typeof(settings) = 'object'),
    constraint tenants_deleted_dated check (
        (status = 'deleted') = (deleted_at is not null) and (status = 'deleted') = (purge_after is not null)
    )
);

comment on table tenants is 'Every tenant, with the schema that holds its data.';
comment on column tenants.schema_name is 'Made once from the slug, then stored and never computed again.';
comment on column tenants.schema_version is 'Cache of the newest version in goose_db_version of the tenant''s schema.';
comment on column tenants.purge_after is 'A deleted tenant may be destroyed from this moment on.';

-- Purge looks for the few that are due.
create index idx_tenants_purge_after on tenants (purge_after) where status = 'deleted';

-- +goose Down
drop table tenants;
