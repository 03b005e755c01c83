-- Schemas that are under construction in more than one transaction.

-- +goose Up
create table tenant_builds (
    schema_name text        not null,
    id          uuid        not null,
    schema_oid  oid         not null,
    slug        text        not null,
    actor       text        not null,
    started_at  timestamptz not null default now(),
    constraint tenant_builds_pkey primary key (schema_name)
);

comment on table tenant_builds is 'Schemas under construction. Who builds one holds its row locked; a row that nobody holds is left by a run that was killed.';
comment on column tenant_builds.schema_oid is 'The schema itself: one of that name that somebody else has made is never dropped.';
comment on column tenant_builds.slug is 'The tenant to be, empty for a schema that is only looked at.';

-- +goose Down
drop table tenant_builds;
