-- The audit: who did what to which tenant when. A tenant's rows stay when the
-- tenant is gone, so tenant_id is no foreign key and the slug is kept beside it.

-- +goose Up
create table tenant_events (
    id          uuid        primary key default gen_random_uuid(),
    tenant_id   uuid        not null,
    slug        text        not null,
    action      text        not null,
    actor       text        not null,
    db_role     text        not null default current_user,
    detail      jsonb       not null default '{}',
    occurred_at timestamptz not null default now()
);

comment on table tenant_events is 'Append-only audit of what was done to tenants.';

create index idx_tenant_events_tenant on tenant_events (tenant_id, occurred_at desc);
create index idx_tenant_events_occurred_at on tenant_events (occurred_at desc);

-- +goose Down
drop table tenant_events;
