-- The history behind the growth of the system catalogs.

-- +goose Up
create table tenant_catalog_samples (
    sampled_at    timestamptz not null default now() primary key,
    tenants       integer     not null,
    relations     bigint      not null,
    catalog_bytes bigint      not null
);

comment on table tenant_catalog_samples is 'What the tenants took of the system catalogs over time.';

-- +goose Down
drop table tenant_catalog_samples;
