package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
	"github.com/schollz/progressbar/v3"

	"github.com/crmctl/crmctl/internal/cli"
)

const (
	frameInterval = 100 * time.Millisecond // of the bar
	checkInterval = time.Second            // off a terminal
	lineInterval  = 10 * time.Second       // between two lines off a terminal …
	linePercent   = 5                      // … unless so much more is done
	barWidth      = 33
	minBarWidth   = 10
)

// progressOptions describe a piece of work.
type progressOptions struct {
	verb  string // begins each line off a terminal: "migrate"
	tags  string // follows it: "run=42"
	total int64  // 0 when nobody knows
	bytes bool   // what is counted are bytes

	// rate returns how fast it goes when that is not what is counted: "54,100
	// rows/s". Nil takes the count.
	rate func() string
	// status returns the second line on a terminal: "ok 3,101   failed 1".
	status func() string
	// fields returns more of a line off a terminal: "ok=1799 failed=1".
	fields func() string
}

// progress shows on stderr how far a piece of work is: a bar on a terminal, a
// line now and then elsewhere, nothing with --quiet. Its methods may be called
// by many goroutines at once. They are cheap: drawing happens in a goroutine of
// its own.
type progress struct {
	o       progressOptions
	console *console
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

// newProgress begins to show the progress of a piece of work; finish ends it.
func (c *console) newProgress(o progressOptions) *progress {
	p := c.makeProgress(o)
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

func (c *console) makeProgress(o progressOptions) *progress {
	now := c.now()
	p := &progress{o: o, console: c, w: c.io.Err, quiet: c.switches.quiet, start: now, lastLine: now, stop: make(chan struct{})}
	p.rates.start(now)
	if c.io.ErrTerminal && !c.io.Dumb() && !p.quiet {
		p.bar = newBar(o.total, c.io.Unicode(), c.barWidth())
	}
	return p
}

func (c *console) barWidth() int {
	const besides = 60 // columns that the numbers take
	return min(barWidth, max(minBarWidth, c.io.Width()-besides))
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

// add counts n more.
func (p *progress) add(n int64) { p.count.Add(n) }

// tag puts tags like "run=42" into the lines that follow.
func (p *progress) tag(tags string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.o.tags = tags
}

// restart forgets the speed so far, for work that goes on in another way.
func (p *progress) restart() {
	now := p.console.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rates.restart(now, p.count.Load())
}

// set counts n in all.
func (p *progress) set(n int64) { p.count.Store(n) }

// event prints a line of its own, above the bar on a terminal and with the time
// elsewhere. With --quiet it says nothing.
func (p *progress) event(format string, args ...any) {
	if !p.quiet {
		p.print(fmt.Sprintf(format, args...))
	}
}

// failure prints a line like event, whatever --quiet says, and as an error
// annotation where GitHub runs the command.
func (p *progress) failure(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.console.onGitHub() {
		p.write("::error::" + escapeAnnotation(p.console.redact(text)) + "\n")
		return
	}
	p.print(text)
}

func (p *progress) print(text string) {
	text = cli.Visible(p.console.redact(text))
	if p.bar == nil {
		p.mu.Lock()
		text = p.prefix() + " " + text
		p.mu.Unlock()
	}
	p.write(text + "\n")
}

// write puts whole lines where the bar is; the next frame draws it again below.
func (p *progress) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eraseLocked()
	_, _ = io.WriteString(p.w, text) // nobody is left to tell when stderr is gone
}

func (p *progress) eraseLocked() {
	if p.drawn {
		_, _ = io.WriteString(p.w, "\r"+cli.EraseBelow)
		p.drawn = false
	}
}

// finish takes the bar off the terminal, so that the summary stands alone. It
// may be called more than once.
func (p *progress) finish() {
	p.once.Do(func() {
		close(p.stop)
		p.stopped.Wait()
		p.console.progress.CompareAndSwap(p, nil)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.eraseLocked()
		if p.bar == nil && p.lines > 0 {
			now := p.console.now()
			p.rates.observe(now, p.count.Load())
			p.lineLocked(now)
		}
	})
}

// tick draws a frame, or prints a line when it is time for one.
func (p *progress) tick() {
	now := p.console.now()
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

func (p *progress) percent() int64 {
	if p.o.total <= 0 {
		return 0
	}
	return min(p.count.Load(), p.o.total) * 100 / p.o.total
}

// drawLocked draws one frame in one write and leaves the cursor where it
// began.
func (p *progress) drawLocked() {
	width := p.console.io.Width() - 1
	frame := "\r" + p.console.cutPlain(p.barLine(), width) + cli.EraseBelow
	if p.o.status != nil {
		if text := cli.Visible(p.o.status()); text != "" {
			frame += "\n" + p.console.cutPlain(text, width) + cli.LineUp
		}
	}
	p.drawn = true
	_, _ = io.WriteString(p.w, frame+"\r")
}

func (p *progress) barLine() string {
	n := p.count.Load()
	parts := []string{p.amount(n)}
	if rate := p.rate(); rate != "" {
		parts = append(parts, rate)
	}
	if left, ok := p.left(n); ok {
		parts = append(parts, shortDuration(left)+" left")
	}
	if p.o.total > 0 {
		n = min(n, p.o.total)
	}
	_ = p.bar.Set64(n) // cannot exceed the total
	p.bar.Describe(strings.Join(parts, "   "))
	return strings.TrimRight(strings.TrimLeft(p.bar.String(), "\r"), " ")
}

// amount returns "3,104 / 4,812" or "182 MB / 254 MB".
func (p *progress) amount(n int64) string {
	show := cli.HumanCount
	if p.o.bytes {
		show = cli.HumanSize
	}
	if p.o.total > 0 {
		return show(n) + " / " + show(p.o.total)
	}
	return show(n)
}

func (p *progress) rate() string {
	if p.o.rate != nil {
		return p.o.rate()
	}
	perSecond := p.rates.perSecond()
	switch {
	case perSecond <= 0:
		return ""
	case p.o.bytes:
		return cli.HumanSize(int64(perSecond)) + "/s"
	case perSecond < 10:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return cli.HumanCount(int64(perSecond)) + "/s"
}

func (p *progress) left(n int64) (time.Duration, bool) {
	perSecond := p.rates.perSecond()
	if p.o.total <= n || perSecond <= 0 {
		return 0, false
	}
	left := time.Duration(float64(p.o.total-n) / perSecond * float64(time.Second))
	return left.Round(time.Second), left < 100*24*time.Hour
}

// shortDuration returns whole seconds, "3s" or "3m20s".
func shortDuration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return cli.HumanDuration(d)
}

// prefix begins a line off a terminal: "2026-11-23T20:15:04Z migrate run=42". The
// caller holds mu.
func (p *progress) prefix() string {
	text := p.console.now().UTC().Format(time.RFC3339) + " " + p.o.verb
	if p.o.tags != "" {
		text += " " + p.o.tags
	}
	return text
}

// lineLocked prints "2026-11-23T20:15:04Z migrate run=42 done=1800/4812 …".
func (p *progress) lineLocked(now time.Time) {
	p.lines++
	n := p.count.Load()
	name := "done"
	if p.o.bytes {
		name = "bytes"
	}
	line := fmt.Sprintf("%s %s=%d", p.prefix(), name, n)
	if p.o.total > 0 {
		line += fmt.Sprintf("/%d", p.o.total)
	}
	if p.o.fields != nil {
		line += " " + cli.Visible(p.o.fields())
	}
	rate := p.rate()
	if rate == "" {
		if seconds := now.Sub(p.start).Seconds(); seconds > 0 {
			rate = cli.HumanCount(int64(float64(n)/seconds)) + "/s"
		}
	}
	line += " rate=" + strings.NewReplacer(" ", "", ",", "").Replace(rate)
	if left, ok := p.left(n); ok {
		line += " eta=" + shortDuration(left)
	}
	_, _ = io.WriteString(p.w, line+"\n")
}

// cutPlain shortens a line to the width of the terminal.
func (c *console) cutPlain(s string, width int) string {
	if twwidth.Width(s) <= width {
		return s
	}
	p := cli.Printer{Unicode: c.io.Unicode()}
	return p.Cut(s, width)
}
