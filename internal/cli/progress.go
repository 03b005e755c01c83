package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
	"github.com/schollz/progressbar/v3"
)

const (
	frameInterval = 100 * time.Millisecond // of the bar
	checkInterval = time.Second            // off a terminal
	lineInterval  = 10 * time.Second       // between two lines off a terminal …
	linePercent   = 5                      // … unless so much more is done
	barWidth      = 33
	minBarWidth   = 10
)

// ProgressOptions describe a piece of work.
type ProgressOptions struct {
	Verb  string // begins each line off a terminal: "migrate"
	tags  string // follows it: "run=42"
	Total int64  // 0 when nobody knows
	Bytes bool   // what is counted are bytes

	// Rate returns how fast it goes when that is not what is counted: "54,100
	// rows/s". Nil takes the count.
	Rate func() string
	// Status returns the second line on a terminal: "ok 3,101   failed 1".
	Status func() string
	// Fields returns more of a line off a terminal: "ok=1799 failed=1".
	Fields func() string
}

// Progress shows on stderr how far a piece of work is: a bar on a terminal, a
// line now and then elsewhere, nothing with --quiet. Its methods may be called
// by many goroutines at once. They are cheap: drawing happens in a goroutine of
// its own.
type Progress struct {
	o       ProgressOptions
	Console *Console
	w       io.Writer
	bar     *progressbar.ProgressBar // nil off a terminal
	quiet   bool
	start   time.Time
	count   atomic.Int64
	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once

	mu          sync.Mutex // guards what follows, and writing
	drawn       bool
	lastLine    time.Time
	lastPercent int64
	lines       int
	rates       rateMeter
}

// NewProgress begins to show the progress of a piece of work; finish ends it.
func (c *Console) NewProgress(o ProgressOptions) *Progress {
	p := c.makeProgress(o)
	c.Reads.Store(true) // and changes, where the command says so
	interval := checkInterval
	if p.bar != nil {
		interval = frameInterval
	}
	if !p.quiet {
		p.stopped.Go(func() {
			ticker := time.NewTicker(interval)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					p.tick()
				case <-p.stop:
					return
				}
			}
		})
	}
	c.progress.Store(p)
	return p
}

func (c *Console) makeProgress(o ProgressOptions) *Progress {
	now := c.Now()
	p := &Progress{o: o, Console: c, w: c.IO.Err, quiet: c.switches.Quiet, start: now, lastLine: now,
		stop: make(chan struct{})}
	p.rates.start(now)
	if c.IO.ErrTerminal && !c.IO.Dumb() && !p.quiet {
		p.bar = newBar(o.Total, c.IO.Unicode(), c.barWidth())
	}
	return p
}

func (c *Console) barWidth() int {
	const besides = 60 // columns that the numbers take
	return min(barWidth, max(minBarWidth, c.IO.Width()-besides))
}

// newBar makes a bar that draws into its own string, from which the frames are
// taken: it shares the terminal with other lines.
func newBar(total int64, unicode bool, width int) *progressbar.ProgressBar {
	theme := progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}
	spinner := 9
	if unicode {
		theme = progressbar.Theme{Saucer: "█", SaucerPadding: " "}
		spinner = 14
	}
	if total <= 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetTheme(theme),
		progressbar.OptionSpinnerType(spinner),
		progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionSetWidth(width),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionShowDescriptionAtLineEnd(),
	)
}

// Add counts n more.
func (p *Progress) Add(n int64) { p.count.Add(n) }

// Tag puts tags like "run=42" into the lines that follow.
func (p *Progress) Tag(tags string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.o.tags = tags
}

// Restart forgets the speed so far, for work that goes on in another way.
func (p *Progress) Restart() {
	now := p.Console.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rates.restart(now, p.count.Load())
}

// Set counts n in all.
func (p *Progress) Set(n int64) { p.count.Store(n) }

// Event prints a line of its own, above the bar on a terminal and with the time
// elsewhere. With --quiet it says nothing.
func (p *Progress) Event(format string, args ...any) {
	if !p.quiet {
		p.print(fmt.Sprintf(format, args...))
	}
}

// Failure prints a line like event, whatever --quiet says, and as an error
// annotation where GitHub runs the command.
func (p *Progress) Failure(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.Console.OnGitHub() {
		p.write("::error::" + EscapeAnnotation(p.Console.Redact(text)) + "\n")
		return
	}
	p.print(text)
}

func (p *Progress) print(text string) {
	text = Visible(p.Console.Redact(text))
	if p.bar == nil {
		p.mu.Lock()
		text = p.prefix() + " " + text
		p.mu.Unlock()
	}
	p.write(p.Console.Fit(text) + "\n")
}

// write puts whole lines where the bar is; the next frame draws it again below.
func (p *Progress) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eraseLocked()
	_, _ = io.WriteString(p.w, text) // nobody is left to tell when stderr is gone
}

func (p *Progress) eraseLocked() {
	if p.drawn {
		_, _ = io.WriteString(p.w, "\r"+EraseBelow)
		p.drawn = false
	}
}

// Finish takes the bar off the terminal, so that the summary stands alone. It
// may be called more than once.
func (p *Progress) Finish() {
	p.once.Do(func() {
		close(p.stop)
		p.stopped.Wait()
		p.Console.progress.CompareAndSwap(p, nil)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.eraseLocked()
		if p.bar == nil && p.lines > 0 {
			now := p.Console.Now()
			p.rates.observe(now, p.count.Load())
			p.lineLocked(now)
		}
	})
}

// tick draws a frame, or prints a line when it is time for one.
func (p *Progress) tick() {
	now := p.Console.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rates.observe(now, p.count.Load())
	if p.bar != nil {
		p.drawLocked()
		return
	}
	if percent := p.percent(); now.Sub(p.lastLine) >= lineInterval || percent-p.lastPercent >= linePercent {
		p.lastLine, p.lastPercent = now, percent
		p.lineLocked(now)
	}
}

func (p *Progress) percent() int64 {
	if p.o.Total <= 0 {
		return 0
	}
	return min(p.count.Load(), p.o.Total) * 100 / p.o.Total
}

// drawLocked draws one frame in one write and leaves the cursor where it
// began.
func (p *Progress) drawLocked() {
	width := p.Console.IO.Width() - 1
	frame := "\r" + p.Console.cutPlain(p.barLine(), width) + EraseBelow
	if p.o.Status != nil {
		if text := Visible(p.o.Status()); text != "" {
			frame += "\n" + p.Console.cutPlain(text, width) + LineUp
		}
	}
	p.drawn = true
	_, _ = io.WriteString(p.w, frame+"\r")
}

func (p *Progress) barLine() string {
	n := p.count.Load()
	parts := []string{p.amount(n)}
	if rate := p.rate(); rate != "" {
		parts = append(parts, rate)
	}
	if left, ok := p.left(n); ok {
		parts = append(parts, shortDuration(left)+" left")
	}
	if p.o.Total > 0 {
		n = min(n, p.o.Total)
	}
	_ = p.bar.Set64(n) // cannot exceed the total
	p.bar.Describe(strings.Join(parts, "   "))
	return strings.TrimRight(strings.TrimLeft(p.bar.String(), "\r"), " ")
}

// amount returns "3,104 / 4,812" or "182 MB / 254 MB".
func (p *Progress) amount(n int64) string {
	show := HumanCount
	if p.o.Bytes {
		show = HumanSize
	}
	if p.o.Total > 0 {
		return show(n) + " / " + show(p.o.Total)
	}
	return show(n)
}

func (p *Progress) rate() string {
	if p.o.Rate != nil {
		return p.o.Rate()
	}
	perSecond := p.rates.perSecond()
	switch {
	case perSecond <= 0:
		return ""
	case p.o.Bytes:
		return HumanSize(int64(perSecond)) + "/s"
	case perSecond < 10:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return HumanCount(int64(perSecond)) + "/s"
}

func (p *Progress) left(n int64) (time.Duration, bool) {
	perSecond := p.rates.perSecond()
	if p.o.Total <= n || perSecond <= 0 {
		return 0, false
	}
	left := time.Duration(float64(p.o.Total-n) / perSecond * float64(time.Second))
	return left.Round(time.Second), left < 100*24*time.Hour
}

// shortDuration returns whole seconds, "3s" or "3m20s".
func shortDuration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return HumanDuration(d)
}

// prefix begins a line off a terminal: "2026-11-23T20:15:04Z migrate run=42". The
// caller holds mu.
func (p *Progress) prefix() string {
	text := p.Console.Now().UTC().Format(time.RFC3339) + " " + p.o.Verb
	if p.o.tags != "" {
		text += " " + p.o.tags
	}
	return text
}

// lineLocked prints "2026-11-23T20:15:04Z migrate run=42 done=1800/4812 …".
func (p *Progress) lineLocked(now time.Time) {
	p.lines++
	n := p.count.Load()
	name := "done"
	if p.o.Bytes {
		name = "bytes"
	}
	line := fmt.Sprintf("%s %s=%d", p.prefix(), name, n)
	if p.o.Total > 0 {
		line += fmt.Sprintf("/%d", p.o.Total)
	}
	if p.o.Fields != nil {
		line += " " + Visible(p.o.Fields())
	}
	rate := p.rate()
	if rate == "" {
		if seconds := now.Sub(p.start).Seconds(); seconds > 0 {
			rate = HumanCount(int64(float64(n)/seconds)) + "/s"
		}
	}
	line += " rate=" + strings.NewReplacer(" ", "", ",", "").Replace(rate)
	if left, ok := p.left(n); ok {
		line += " eta=" + shortDuration(left)
	}
	_, _ = io.WriteString(p.w, line+"\n")
}

// cutPlain shortens a line to the width of the terminal.
func (c *Console) cutPlain(s string, width int) string {
	if twwidth.Width(s) <= width {
		return s
	}
	p := Printer{Unicode: c.IO.Unicode()}
	return p.Cut(s, width)
}
