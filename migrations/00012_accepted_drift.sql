-- Differences of tenants from their migrations that are wanted.

-- +goose Up
create table tenant_accepted (
    tenant_id   uuid        not null references tenants (id) on delete cascade,
    change      text        not null,
    kind        text        not null,
    parent      text        not null,
    name        text        not null,
    found       text        not null,
    reason      text        not null,
    actor       text        not null,
    accepted_at timestamptz not null default now(),
    constraint tenant_accepted_pkey primary key (tenant_id, kind, parent, name)
);

comment on table tenant_accepted is 'Objects in which a tenant is not what its migrations make, on purpose. Any other difference is drift.';
comment on column tenant_accepted.change is 'missing, extra or different.';
comment on column tenant_accepted.found is 'The definition that was accepted, empty where the object is missing: another one is drift again.';

-- +goose Down
drop table tenant_accepted;
