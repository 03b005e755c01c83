package cli

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time       { return c.at }
func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

// still makes a progress that only draws when the test says so.
func still(t *testing.T, b *desk, o ProgressOptions) (*Progress, *clock) {
	t.Helper()
	f := b.console(t)
	c := &clock{time.Date(2026, 11, 23, 20, 15, 0, 0, time.UTC)}
	f.Now = c.now
	return f.makeProgress(o), c
}

func TestBar(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal()
	p, c := still(t, b, ProgressOptions{Verb: "migrate", Total: 4812, Status: func() string {
		return "ok 3,101   retrying 2   failed 1"
	}})
	c.pass(time.Second)
	p.tick()
	c.pass(4 * time.Second)
	p.Add(3104)
	p.tick()
	frames := strings.Split(b.err.String(), EraseBelow)
	// The last frame: bar, second line, and the cursor back where it began.
	last := frames[len(frames)-2]
	same(t, "bar", last[strings.LastIndex(last, "\r")+1:],
		"  64% █████████████████████              3,104 / 4,812   620/s   3s left")
	same(t, "status", frames[len(frames)-1], "\nok 3,101   retrying 2   failed 1\x1b[1A\r")
	p.Event("acme-corp failed: %s", "\x1b[31mred")
	p.Finish()
	if got := b.err.String(); !strings.HasSuffix(got, "\r"+EraseBelow+`acme-corp failed: \x1b[31mred`+"\n") {
		t.Errorf("the bar is not taken off before a line: %q", got)
	}
	if strings.Contains(frames[0], "\x1b") {
		t.Errorf("first frame %q", frames[0])
	}
}

func TestBarStaysOnOneLine(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal()
	b.Width = func() int { return 40 }
	p, c := still(t, b, ProgressOptions{Verb: "import", Total: 254e6, Bytes: true, Rate: func() string {
		return "54,100 rows/s"
	}})
	c.pass(time.Second)
	p.Set(182e6)
	p.tick()
	frame := strings.TrimSuffix(strings.TrimPrefix(b.err.String(), "\r"), EraseBelow+"\r")
	if n := len([]rune(frame)); n > 39 || !strings.HasSuffix(frame, "…") {
		t.Errorf("%d columns: %q", n, frame)
	}
}

func TestASCIIBar(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal().setenv("LC_ALL=C")
	p, c := still(t, b, ProgressOptions{Total: 10})
	c.pass(time.Second)
	p.Add(5)
	p.tick()
	for _, r := range b.err.String() {
		if r > 0x7f {
			t.Fatalf("%q off UTF-8", b.err)
		}
	}
	if !strings.Contains(b.err.String(), "[====") {
		t.Errorf("%q", b.err)
	}
}

func TestUnknownTotal(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal()
	p, c := still(t, b, ProgressOptions{Bytes: true})
	c.pass(time.Second)
	p.Add(12e6)
	p.tick()
	if got := b.err.String(); !strings.Contains(got, "12 MB") || !strings.Contains(got, "12 MB/s") ||
		strings.Contains(got, "left") {
		t.Errorf("%q", got)
	}
}

func TestLinesOffATerminal(t *testing.T) {
	t.Parallel()
	b := newDesk()
	p, c := still(t, b, ProgressOptions{Verb: "migrate", tags: "run=42", Total: 1000, Fields: func() string {
		return "ok=1 failed=0"
	}})
	tick := func(d time.Duration, n int64) {
		c.pass(d)
		p.Add(n)
		p.tick()
	}
	for range 9 {
		tick(time.Second, 1)
	}
	if got := b.err.String(); got != "" {
		t.Errorf("a line before its time: %q", got)
	}
	tick(time.Second, 1)  // ten seconds
	tick(time.Second, 50) // five per cent
	tick(time.Second, 10) // neither
	p.Failure("tenant=initech failed sqlstate=42701")
	c.pass(time.Second)
	p.Finish()
	p.Finish()
	same(t, "stderr", b.err.String(), `2026-11-23T20:15:10Z migrate run=42 done=10/1000 ok=1 failed=0 rate=1.0/s eta=16m30s
2026-11-23T20:15:11Z migrate run=42 done=60/1000 ok=1 failed=0 rate=6.4/s eta=2m26s
2026-11-23T20:15:12Z migrate run=42 tenant=initech failed sqlstate=42701
2026-11-23T20:15:13Z migrate run=42 done=70/1000 ok=1 failed=0 rate=7.3/s eta=2m07s
`)
}

func TestDumbTerminalGetsLines(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal().setenv("TERM=dumb")
	p, c := still(t, b, ProgressOptions{Verb: "migrate", Total: 10})
	c.pass(10 * time.Second)
	p.Add(5)
	p.tick()
	same(t, "stderr", b.err.String(), "2026-11-23T20:15:10Z migrate done=5/10 rate=0.5/s eta=10s\n")
}

func TestQuietProgress(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal()
	f := b.console(t)
	b.flags.Quiet = true
	p := f.NewProgress(ProgressOptions{Verb: "migrate", Total: 10})
	p.Add(5)
	p.Event("slow")
	p.Failure("acme-corp failed")
	p.Finish()
	same(t, "stderr", b.err.String(), "2026-11-23T20:15:04Z migrate acme-corp failed\n")
}

func TestGitHubAnnotations(t *testing.T) {
	t.Parallel()
	b := newDesk().setenv("GITHUB_ACTIONS=true")
	f := b.console(t)
	end := f.group("migrate 50% of\nall")
	p := f.NewProgress(ProgressOptions{Verb: "migrate", Total: 10})
	p.Failure("acme failed\n::set-output name=x::y")
	p.Finish()
	end()
	same(t, "stderr", b.err.String(), "::group::migrate 50%25 of%0Aall\n::error::acme failed%0A::set-output "+
		"name=x::y\n::endgroup::\n")
}

// Many goroutines count and report while the bar is drawn.
func TestProgressIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal()
	f := b.console(t)
	f.Now = time.Now
	p := f.NewProgress(ProgressOptions{Verb: "migrate", Total: 4000, Status: func() string { return "ok" }})
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 500 {
				p.Add(1)
				time.Sleep(100 * time.Microsecond)
			}
			f.Note("a worker is done")
		})
	}
	workers.Wait()
	p.Finish()
	f.Note("after")
	if got := strings.Count(b.err.String(), "a worker is done\n"); got != 8 {
		t.Errorf("%d of 8 lines are whole", got)
	}
	if !strings.HasSuffix(b.err.String(), "after\n") || p.count.Load() != 4000 {
		t.Errorf("count %d, end %q", p.count.Load(), b.err.String()[max(0, len(b.err.String())-80):])
	}
}

func TestRateFollows(t *testing.T) {
	t.Parallel()
	var m rateMeter
	at := time.Unix(0, 0)
	m.start(at)
	var n int64
	for range 60 {
		at, n = at.Add(time.Second), n+1000
		m.observe(at, n)
	}
	for range 20 {
		at, n = at.Add(time.Second), n+10
		m.observe(at, n)
	}
	if got := m.perSecond(); got < 9 || got > 11 {
		t.Errorf("%.1f per second after the work slowed down to 10", got)
	}
}

// The estimate is right within a fifth once a tenth of the work is done, also when
// a slow beginning (a canary and its pause) came before.
func TestEstimateIsRightEarly(t *testing.T) {
	t.Parallel()
	const total, perSecond = 5000, 600
	p, c := still(t, newDesk(), ProgressOptions{Verb: "migrate", Total: total})
	p.Add(1)
	c.pass(30 * time.Second)
	p.tick()
	p.Restart()
	for n := 1; n < total; {
		c.pass(100 * time.Millisecond)
		step := perSecond/10 + n%7 - 3 // never quite even
		n = min(total, n+step)
		p.Set(int64(n))
		p.tick()
		if n < total/10 || n > total*9/10 {
			continue
		}
		left, ok := p.left(int64(n))
		want := time.Duration(float64(total-n) / perSecond * float64(time.Second))
		if !ok || left < want*8/10-time.Second/2 || left > want*12/10+time.Second/2 {
			t.Fatalf("at %d of %d: %s left, want about %s", n, total, left, want)
		}
	}
}
