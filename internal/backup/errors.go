package backup

import "errors"

// Errors of this package.
var (
	// ErrNotBackup says that a file is no backup of crmctl.
	ErrNotBackup = errors.New("not a backup of crmctl")
	// ErrCorrupt says that a file was cut or changed, or was never written by this
	// program.
	ErrCorrupt = errors.New("the backup is damaged")
	// ErrNewerFormat says that a newer crmctl wrote the file.
	ErrNewerFormat = errors.New("the backup was written by a newer crmctl")
	// ErrEncrypted says that a file is encrypted and that no identity was given, or
	// none that opens it.
	ErrEncrypted = errors.New("the backup is encrypted")
	// ErrUnproven says that whether a file is whole cannot be told: it is encrypted, or
	// pg_dump wrote it, and no checksum of it stands beside it.
	ErrUnproven = errors.New("whether it is whole cannot be told")
	// ErrLocked says that another prune is at work in the directory.
	ErrLocked = errors.New("backups are being removed there by somebody else")
	// ErrMismatch says that the schema built from the migrations is not the one
	// that the data comes from.
	ErrMismatch = errors.New("the migrations do not make what the data needs")
	// ErrMoved says that the structure of a tenant kept changing while it was read.
	ErrMoved = errors.New("the tenant's tables were changed meanwhile")
	// errWriter ends a COPY whose data cannot be written; the writer knows why.
	errWriter = errors.New("the backup cannot be written")
	// ErrOtherKind says that a container holds the registry where a tenant is wanted,
	// or the other way round.
	ErrOtherKind = errors.New("the backup holds something else")
	// ErrNotOwner says that the session's role does not own the registry, whose
	// sequences a restore sets.
	ErrNotOwner = errors.New("only its owner can restore the registry")
	// ErrUnsafe says that a path is a symbolic link or otherwise not what it was
	// taken for.
	ErrUnsafe = errors.New("not a safe place for a backup")
)
