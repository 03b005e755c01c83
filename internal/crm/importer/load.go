package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/tabular"
)

const (
	defaultLockTimeout = 5 * time.Second
	// defaultDirectFrom is where dropping the indexes and building them again
	// begins to pay: about ten thousand rows.
	defaultDirectFrom = 1 << 20
	// sampleRows is how many rows the columns are judged by.
	sampleRows = 1000
	// packedBy is about how much larger a compressed list of contacts gets.
	packedBy = 8
)

// errDryRun rolls a dry run back.
var errDryRun = errors.New("dry run")

// Import loads the contacts that r holds into the tenant of o.Schema, in one
// transaction on conn. The result counts what was done until an error, too, but
// with an error nothing of it was kept.
//
// Errors about the file are *tabular.Error, about the mapping *MappingError, about
// the tenant's tables *TableError; *TooManyRejectsError stops at o.MaxRejects, and
// then the reject file stays, or the rows go to o.RejectTo. Where an error wraps
// db.ErrCommitUnknown everything may have been kept, and they do so too.
func Import(ctx context.Context, conn *pgx.Conn, r io.Reader, o Options) (Result, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	source, err := steadySource(ctx, r, receiving(o))
	if err != nil {
		return Result{DryRun: o.DryRun}, fmt.Errorf("import contacts: %w", err)
	}
	defer source.Close()
	o.size = source.size
	if namesOther(o.Map) {
		if o.columns, err = tableColumns(ctx, conn, o.Schema); err != nil {
			return Result{DryRun: o.DryRun}, fmt.Errorf("import contacts: %w", err)
		}
	}
	in := newInput(ctx, source)
	defer in.close()
	l, err := newLoad(conn, in, o)
	if err != nil {
		return Result{DryRun: o.DryRun}, fmt.Errorf("import contacts: %w", err)
	}
	defer func() { _ = l.file.Close() }()
	l.source, l.result.Plan.Size = source, source.size
	if o.Observer != nil {
		o.Observer.Planned(l.result.Plan)
	}
	if o.Opened != nil {
		from, err := o.Opened(ctx, Source{Plan: l.result.Plan, Size: source.size, Sum: func() (string, error) {
			return source.sum(ctx)
		}})
		if err != nil {
			return l.result, fmt.Errorf("import contacts: %w", err)
		}
		if from != nil {
			l.o.From = from
		}
	}
	locals := db.Locals{
		Schema: o.Schema, Path: o.Path, EveryRow: o.Role == "", Tenant: o.Tenant, Wait: true,
		LockTimeout: l.o.LockTimeout, StatementTimeout: o.StatementTimeout, Follow: !o.DryRun,
		Tablespace: o.Tablespace,
	}
	if l.role = o.Role; l.role == "" && !o.OwnRole {
		locals.Enter = owner.Entering(o.Schema, &l.role)
	}
	if o.Batch > 0 && !o.DryRun {
		return l.inBatches(ctx, conn, locals)
	}
	err = db.InTx(ctx, conn, locals, l.run)
	if errors.Is(err, errDryRun) {
		err = nil
	}
	switch _, tooMany := errors.AsType[*TooManyRejectsError](err); {
	case tooMany:
		err = errors.Join(err, l.rejects.finish(), l.rejects.deliver())
		l.accepted.discard()
	case err != nil && !errors.Is(err, db.ErrCommitUnknown):
		l.rejects.discard()
		l.accepted.discard()
	default:
		err = errors.Join(err, l.rejects.deliver(), l.accepted.deliver())
	}
	l.count()
	if err != nil {
		return l.result, fmt.Errorf("import contacts: %w", err)
	}
	return l.result, nil
}

// inBatches imports in batches, and settles the files.
func (l *load) inBatches(ctx context.Context, conn *pgx.Conn, locals db.Locals) (Result, error) {
	err := l.batches(ctx, conn, locals)
	err = errors.Join(err, l.rejects.deliver(), l.rejects.close(), l.accepted.deliver(), l.accepted.close())
	if l.stopped != nil {
		l.result, l.stopped.Duration = *l.stopped, l.o.Now().Sub(l.started)
		l.result = *l.stopped
	} else {
		l.count()
	}
	l.result.RejectFile, l.result.AcceptFile = l.rejects.done, l.accepted.done
	if err != nil {
		return l.result, fmt.Errorf("import contacts: %w", err)
	}
	return l.result, nil
}

// receiving tells the observer what comes through a pipe.
func receiving(o Options) func(int64) {
	if o.Observer == nil {
		return nil
	}
	started := o.Now()
	return func(bytes int64) {
		o.Observer.Progressed(Progress{Phase: PhaseReceive, Bytes: bytes, Elapsed: o.Now().Sub(started)})
	}
}

// load is one import under way.
type load struct {
	conn    *pgx.Conn
	o       Options
	started time.Time
	source  *steady
	size    int64 // of the input, 0 when it is not known

	file     *tabular.File
	mapping  *mapping
	own      *own // nil for a table of ours
	producer *producer
	rejects  *rejects
	accepted *accepted
	merge    merge
	table    tableInfo
	role     string // as which the work is done, "" for the session's
	scratch  *db.Scratch
	firstID  uint64 // where the ids of this transaction begin
	result   Result

	sum     sums    // of the batches that are committed
	stopped *Result // what was committed when a batch failed
}

// newLoad reads the head of the file and plans the import.
func newLoad(conn *pgx.Conn, in *input, o Options) (*load, error) {
	if o.LockTimeout <= 0 {
		o.LockTimeout = defaultLockTimeout
	}
	if o.directFrom == 0 {
		o.directFrom = defaultDirectFrom
	}
	if o.sliceFrom == 0 {
		o.sliceFrom = defaultSliceFrom
	}
	if o.Schema.IsZero() {
		return nil, fmt.Errorf("%w: none given", db.ErrInvalidSchema)
	}
	var err error
	if o.OnConflict, err = ParseConflictPolicy(string(o.OnConflict)); err != nil {
		return nil, err
	}
	if o.InFile, err = ParseRepeatPolicy(string(o.InFile), o.OnConflict); err != nil {
		return nil, err
	}
	if o.Key, err = ParseKey(string(o.Key)); err != nil {
		return nil, err
	}
	l := &load{conn: conn, o: o, started: o.Now(), size: o.size}
	p, err := openFile(in, o)
	if err != nil {
		if p != nil {
			_ = p.file.Close()
		}
		return nil, err
	}
	l.file, l.mapping = p.file, p.mapping
	if err := p.mapping.checkKey(o.Key); err != nil {
		_ = p.file.Close()
		return nil, err
	}
	if in.ended {
		l.size = in.read
	}
	if f := p.file.Format; f.Compression != "" || f.Kind == tabular.XLSX {
		l.size *= packedBy
	}
	l.result.Plan = p.plan(o)
	l.result.DryRun, l.result.InFile = o.DryRun, o.InFile
	l.rejects = newRejects(p.file, o)
	l.accepted = newAccepted(p.file, o)
	l.rejects.asItGoes = o.Batch > 0 && !o.DryRun
	l.accepted.asItGoes = l.rejects.asItGoes
	ids, err := newIDSource(l.started)
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	l.producer = &producer{
		file: p.file, input: in, convert: newConverter(p.mapping, o), rejects: l.rejects, seen: newFilter(l.size), key: o.Key,
		encode: &rowEncoder{ids: ids,
			createdAt: len(p.mapping.sources[FieldCreatedAt]) > 0 || p.file.Format.Kind == tabular.VCard,
			raw: o.OnConflict == ConflictError || o.InFile == RepeatError || o.Key != KeyEmail ||
				l.accepted.writes()},
		observer: o.Observer, started: l.started, now: o.Now, rest: p.mapping.rest(nil),
		chunks: make(chan chunk, chunksAhead), free: make(chan []byte, chunksAhead),
	}
	if l.accepted.writes() && !o.DryRun {
		l.producer.accepts = l.accepted
	}
	return l, nil
}

// run is the import's transaction.
func (l *load) run(ctx context.Context, q db.Querier) error {
	now, err := l.begin(ctx, q)
	if err != nil {
		return err
	}
	l.producer.encode.now = microseconds(now)
	l.scratch = db.NewScratch(q, l.o.Schema, now)
	table, err := inspectTable(ctx, l.scratch.On(q), l.o.Schema, l.o.Path)
	if err != nil {
		return err
	}
	l.table = table
	if table.isOwn() {
		if err := l.prepareOwn(ctx, q, table.OID); err != nil {
			return err
		}
	}
	l.result.Undoable = l.undoable()
	var indexes []index
	if l.mayLoadDirectly(table) {
		if l.producer.direct, err = lockEmpty(ctx, q, l.o.Schema, l.o.LockTimeout); err != nil {
			return err
		}
	}
	if l.producer.direct {
		if indexes, err = dropIndexes(ctx, q, l.o.Schema, l.o.Path, table.OID); err != nil {
			return err
		}
	}
	if err := l.copy(ctx); err != nil {
		return err
	}
	if err := l.finishTables(ctx, q, indexes); err != nil {
		return err
	}
	return l.close(ctx, q)
}

// prepareOwn finds out how rows go into a table that is an application's own.
func (l *load) prepareOwn(ctx context.Context, q db.Querier, table uint32) error {
	columns, err := readColumns(ctx, q, l.o.Schema, l.o.Path, table)
	if err != nil {
		return err
	}
	if l.own, err = ownTable(columns, l.mapping, l.o.Key); err != nil {
		return err
	}
	p := l.producer
	p.own, p.encode.raw, p.checks, p.rest = true, true, l.own.checks(), l.own.rest
	p.convert.keepColumns(l.own.keep)
	l.result.Own, l.result.NoPlace, l.result.Spare = true, l.own.noPlace, l.own.spare
	l.result.Narrow = !l.own.keepsRest()
	return nil
}

// begin takes the locks and makes sure that the table contacts runs nobody else's
// code, which nobody can change then. Only after that does anything run that could.
func (l *load) begin(ctx context.Context, q db.Querier) (now time.Time, _ error) {
	var begin db.Pipeline
	begin.Exec(`select pg_catalog.set_config('client_encoding', 'UTF8', true)`)
	begin.QueryRow([]any{&now}, "select pg_catalog.now()")
	lock := "lock table " + contactsOf(l.o.Schema) + " in row exclusive mode"
	if l.o.DryRun {
		lock = "lock table " + contactsOf(l.o.Schema) + " in access share mode"
	}
	var objects []planted.Object
	begin.Become(l.role) // the session's own role need have no rights there
	begin.Apart(lock)
	if l.role != "" {
		begin.Return()
	}
	planted.Queue(&begin, l.o.Schema, l.o.Trusted, &objects) // by whom the owner could become again
	begin.Become(l.role)
	err := begin.Run(ctx, q)
	switch {
	case db.SQLState(err) == db.CodeUndefinedTable:
		return now, &TableError{Schema: l.o.Schema.String(), Table: "contacts", Problems: []string{"is not there"}}
	case err != nil:
		return now, fmt.Errorf("begin: %w", err)
	}
	return now, planted.Refuse(l.o.Schema, objects)
}

// undoable reports whether the import can be taken back.
func (l *load) undoable() bool {
	return l.o.Keep != "" && l.own == nil && (l.table.Undo == undoOurs || l.table.Undo == undoNone && l.table.MayCreate)
}

// mayLoadDirectly reports whether the fast path is worth a try: the table is this
// role's to change, and the file large enough for it to pay.
func (l *load) mayLoadDirectly(table tableInfo) bool {
	return !l.o.DryRun && !l.o.KeepIndexes && l.o.Batch == 0 && l.own == nil && l.o.Key == KeyEmail &&
		table.Kind == ordinaryTable && table.Owned && table.MayCreate && !table.RowSecurity &&
		(l.size == 0 || l.size >= l.o.directFrom)
}

// copy sends the file to the server while it is being read.
func (l *load) copy(ctx context.Context) error {
	p := l.producer
	p.report(PhaseLoad)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go p.run(reading)
	f := &feed{p: p}
	err := f.copyAll(ctx, l.conn, [2]string{
		toContacts: copySQL(contactsOf(l.o.Schema), p.encode.directColumns()),
		toStage:    l.scratch.SQL(copySQL("pg_temp.crmctl_import", p.encode.stageColumns())),
	})
	stop()
	for range p.chunks { // until the producer has seen it
	}
	p.report(PhaseLoad)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.err != nil && !errors.Is(p.err, context.Canceled):
		return p.err
	}
	return err
}

// finishTables merges what was staged and makes the dropped indexes again. The
// one on email comes first, since merging needs it; the others cost less after.
func (l *load) finishTables(ctx context.Context, q db.Querier, indexes []index) error {
	p := l.producer
	built := 0
	building := func(name string) {
		p.reportStep(Progress{Phase: PhaseIndex, Step: built, Steps: len(indexes), What: name})
		built++
	}
	if p.direct {
		if err := createIndexes(ctx, q, indexes, true, building); err != nil {
			return err
		}
	}
	if p.counts.staged > 0 {
		l.mergedRows(0)
	}
	l.merge = merge{q: l.scratch.On(q), schema: l.o.Schema, path: l.o.Path, contacts: contactsOf(l.o.Schema),
		policy: l.o.OnConflict,
		inFile: l.o.InFile, key: l.o.Key, own: l.own, dryRun: l.o.DryRun, direct: p.direct, counts: p.counts,
		rejects: l.rejects, accepted: p.accepts, column: p.convert.emailHeader(),
		undoTable: undoTableOf(l.o.Schema), undo: l.table.Undo,
		expired: l.o.Expired, placed: l.table.placed(), sliceFrom: l.o.sliceFrom, told: l.mergedRows}
	if l.undoable() {
		l.merge.keep = l.o.Keep
	}
	if err := l.merge.run(ctx); err != nil {
		return err
	}
	var end db.Pipeline
	if l.scratch.Drop(&end); end.Len() > 0 {
		if err := end.Run(ctx, q); err != nil {
			return fmt.Errorf("end the merge: %w", err)
		}
	}
	if !p.direct {
		return l.analyzeMerged(ctx, q)
	}
	if err := createIndexes(ctx, q, indexes, false, building); err != nil {
		return err
	}
	// The planner would take the table for empty until autovacuum comes by.
	return l.analyze(ctx, q, "analyze ")
}

// close settles the counts and the reject file before the commit.
func (l *load) close(ctx context.Context, q db.Querier) error {
	if err := l.source.check(l.producer.input.read, l.producer.input.ended); err != nil {
		return err
	}
	l.count()
	r := l.result
	if sum := r.Inserted + r.Updated + r.Unchanged + r.Repeated + r.Rejected; sum != r.Read {
		return fmt.Errorf("the rows do not add up: %d were read, but %d inserted, %d updated, %d unchanged, %d repeated "+
			"and %d rejected; nothing was kept",
			r.Read, r.Inserted, r.Updated, r.Unchanged, r.Repeated, r.Rejected)
	}
	if err := errors.Join(l.rejects.finish(), l.accepted.finish()); err != nil {
		return err
	}
	l.count()
	if l.o.DryRun {
		return errDryRun
	}
	if l.undoable() {
		part, err := l.part(ctx, q)
		if err != nil {
			return err
		}
		l.result.Part = part
	}
	if l.role != "" { // whose the registry need not be
		var p db.Pipeline
		p.Return()
		if err := p.Run(ctx, q); err != nil {
			return err
		}
	}
	if l.o.AfterLoad != nil {
		return l.o.AfterLoad(ctx, q, l.result)
	}
	return nil
}

// count brings the result up to date.
func (l *load) count() {
	p := l.producer
	r := &l.result
	r.Read, r.Blank, r.Notes, r.Bytes = p.counts.read, p.counts.blank, p.counts.notes, p.input.read
	r.Inserted = l.sum.inserted + p.counts.direct + l.merge.inserted
	r.Updated, r.Unchanged = l.sum.updated+l.merge.updated, l.sum.unchanged+l.merge.unchanged
	r.Repeated = l.sum.repeated + l.merge.repeated
	r.Checkpoint = Checkpoint{Records: p.records, RejectPath: l.rejects.done, RejectBytes: l.rejects.written,
		AcceptPath: l.accepted.done, AcceptBytes: l.accepted.written}
	r.AcceptFile = l.accepted.done
	r.Unfinished = !p.ended
	r.NoAddress, r.ByPhone = p.noAddress, p.byPhone
	r.Rejected, r.RejectedByCode, r.RejectFile = l.rejects.total, l.rejects.byCode(), l.rejects.done
	r.Role = l.role
	r.FastPath, r.SHA256 = p.direct, p.input.sum()
	r.Changed, r.NullWords = p.convert.changes.list(), p.convert.nullWords()
	r.Duration = l.o.Now().Sub(l.started)
}
