-- Tenants that the application does not name any more. Nothing is done to them, and
-- nothing of theirs is ever dropped.

-- +goose Up
alter table tenants drop constraint tenants_status_known;
alter table tenants add constraint tenants_status_known check (status in ('active', 'suspended', 'gone', 'deleted'));
alter table tenants drop constraint tenants_deleted_from_known;
alter table tenants add constraint tenants_deleted_from_known
    check (deleted_from is null or (status in ('gone', 'deleted') and deleted_from in ('active', 'suspended')));

comment on column tenants.status is 'gone: the application does not name the tenant any more.';
comment on column tenants.deleted_from is 'The status that undelete brings back, or the application that names the tenant again.';

-- +goose Down
update tenants set status = 'suspended', deleted_from = null where status = 'gone';
alter table tenants drop constraint tenants_deleted_from_known;
alter table tenants add constraint tenants_deleted_from_known
    check (deleted_from is null or (status = 'deleted' and deleted_from in ('active', 'suspended')));
alter table tenants drop constraint tenants_status_known;
alter table tenants add constraint tenants_status_known check (status in ('active', 'suspended', 'deleted'));
comment on column tenants.status is null;
comment on column tenants.deleted_from is 'The status that undelete brings back.';
