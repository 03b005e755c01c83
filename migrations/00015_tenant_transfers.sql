-- Tenants that go to another database or server. A tenant has one owner: the registry in which
-- it is not incoming, and not moved.

-- +goose Up
alter table tenants drop constraint tenants_status_known;
alter table tenants add constraint tenants_status_known
    check (status in ('active', 'suspended', 'gone', 'leaving', 'incoming', 'moved', 'deleted'));
alter table tenants drop constraint tenants_deleted_from_known;
alter table tenants add constraint tenants_deleted_from_known check (
    deleted_from is null or status in ('gone', 'deleted') and deleted_from in ('active', 'suspended')
    or status = 'deleted' and deleted_from = 'moved'
);

create table tenant_transfers (
    tenant_id  uuid        not null references tenants (id) on delete cascade,
    id         uuid        not null,
    attempt    uuid        not null,
    was        text        not null,
    profile    text        not null,
    host       text        not null,
    port       integer     not null,
    database   text        not null,
    registry   text        not null,
    rows       bigint,
    started_at timestamptz not null default now(),
    moved_at   timestamptz,
    constraint tenant_transfers_pkey primary key (tenant_id),
    constraint tenant_transfers_was_known check (was in ('active', 'suspended'))
);

comment on table tenant_transfers is 'The last transfer of each tenant, to another database or from there.';
comment on column tenant_transfers.id is 'The same in both registries.';
comment on column tenant_transfers.attempt is 'The run that is at it: an older one gives up.';
comment on column tenant_transfers.was is 'The status that the tenant had, and has again there.';
comment on column tenant_transfers.profile is 'What the other side was called, empty where it is not known.';
comment on column tenant_transfers.registry is 'The schema of the other side''s registry.';
comment on column tenant_transfers.rows is 'That were compared, one by one.';

-- +goose Down
drop table tenant_transfers;
update tenants set status = 'suspended' where status in ('leaving', 'incoming', 'moved');
update tenants set deleted_from = 'suspended' where deleted_from = 'moved';
alter table tenants drop constraint tenants_deleted_from_known;
alter table tenants add constraint tenants_deleted_from_known
    check (deleted_from is null or (status in ('gone', 'deleted') and deleted_from in ('active', 'suspended')));
alter table tenants drop constraint tenants_status_known;
alter table tenants add constraint tenants_status_known check (status in ('active', 'suspended', 'gone', 'deleted'));
