package migrations

// RegistryObjects returns the names of the tables, sequences and functions that the
// registry's migrations make in the schema public, of all versions, and of the table
// that says which were applied.
func RegistryObjects() []string {
	return []string{
		"crmctl_db_version",
		"migration_files",
		"migration_run_tenants",
		"migration_runs",
		"migration_runs_id_seq",
		"tenant_builds",
		"tenant_dirty",
		"tenant_events",
		"tenant_events_append_only",
		"tenant_events_seq_seq",
		"tenant_pool",
		"tenant_shapes",
		"tenant_size_samples",
		"tenants",
	}
}
