package cli

import "time"

// rateMeter measures a speed over the last few seconds, so that an estimate
// follows when the work slows down.
type rateMeter struct {
	samples []sample // at most rateSamples, a second or more apart
	latest  sample
}

type sample struct {
	at    time.Time
	count int64
}

const (
	rateSamples  = 10
	sampleEvery  = time.Second
	minRateSpan  = 200 * time.Millisecond
	minRateCount = 1
)

func (m *rateMeter) start(now time.Time) { m.restart(now, 0) }

// restart forgets what was observed.
func (m *rateMeter) restart(now time.Time, count int64) {
	m.samples = []sample{{at: now, count: count}}
	m.latest = m.samples[0]
}

func (m *rateMeter) observe(now time.Time, count int64) {
	m.latest = sample{now, count}
	if now.Sub(m.samples[len(m.samples)-1].at) < sampleEvery {
		return
	}
	m.samples = append(m.samples, m.latest)
	if len(m.samples) > rateSamples {
		m.samples = m.samples[1:]
	}
}

// perSecond returns 0 until there is something to say.
func (m *rateMeter) perSecond() float64 {
	first := m.samples[0]
	span, done := m.latest.at.Sub(first.at), m.latest.count-first.count
	if span < minRateSpan || done < minRateCount {
		return 0
	}
	return float64(done) / span.Seconds()
}
