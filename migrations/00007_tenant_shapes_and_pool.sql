-- What a new schema is made of where the migrations are many, and schemas that are
-- made before anybody asks for them.

-- +goose Up
create table tenant_shapes (
    plan_checksum text        not null,
    server_major  integer     not null,
    owner         text        not null,
    environment   text        not null,
    version       bigint      not null,
    script        text[],
    fingerprint   text,
    reason        text,
    fixed         text,
    made_at       timestamptz not null default now(),
    constraint tenant_shapes_pkey primary key (plan_checksum, server_major, owner, environment),
    constraint tenant_shapes_script_or_reason check ((script is null) = (reason is not null))
);

comment on table tenant_shapes is 'What a history of migrations makes of an empty schema, as statements. May be emptied at any time: it is made again.';
comment on column tenant_shapes.plan_checksum is 'SHA-256 over the versions and checksums of the migrations.';
comment on column tenant_shapes.owner is 'The role that runs the script.';
comment on column tenant_shapes.environment is 'SHA-256 over what else decides what the migrations make: default privileges, extensions, settings.';
comment on column tenant_shapes.fingerprint is 'Of the schema, as crmctl migrate drift has it.';
comment on column tenant_shapes.reason is 'Why only the migrations themselves can make this schema.';
comment on column tenant_shapes.fixed is 'Why such a schema cannot be renamed, and so not be made for the pool.';

create table tenant_pool (
    schema_name text        not null,
    key         text        not null,
    version     bigint      not null,
    made_at     timestamptz not null default now(),
    constraint tenant_pool_pkey primary key (schema_name),
    constraint tenant_pool_name check (schema_name like 'crmctl\_pool\_%')
);

comment on table tenant_pool is 'Schemas that are ready for new tenants. No tenant has them yet.';
comment on column tenant_pool.key is 'SHA-256 over the key that tenant_shapes has: migrations, server, owner, environment.';

-- +goose Down
drop table tenant_pool;
drop table tenant_shapes;
