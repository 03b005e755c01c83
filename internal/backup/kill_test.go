package backup_test

// childEnv makes this test binary the process that is killed.
const childEnv = "CRMCTL_BACKUP_CHILD"

func child() int { return 1 }
