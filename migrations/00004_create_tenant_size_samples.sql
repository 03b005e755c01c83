-- The history behind a tenant's growth.

-- +goose Up
create table tenant_size_samples (
    tenant_id   uuid        not null references tenants (id) on delete cascade,
    sampled_at  timestamptz not null default now(),
    table_bytes bigint      not null,
    index_bytes bigint      not null,
    total_bytes bigint      not null,
    contacts    bigint,
    exact       boolean     not null default true,
    primary key (tenant_id, sampled_at)
);

comment on table tenant_size_samples is 'Sizes of tenants over time, in bytes; contacts is an estimate.';

-- +goose Down
drop table tenant_size_samples;
