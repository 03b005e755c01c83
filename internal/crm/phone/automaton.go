package phone

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

// automaton matches strings of digits against a regular expression: a
// deterministic automaton over the ten digits whose states are made when they are
// first met. It is not safe for concurrent use.
type automaton struct {
	prog   *syntax.Prog
	states []state
	byKey  map[string]int32
}

type state struct {
	next   [10]int32 // unknown, dead, or the state
	pcs    []uint32
	accept bool
}

const (
	unknown int32 = -1
	dead    int32 = -2
)

// maxStates bounds the automaton; no country's numbers need a tenth of it.
const maxStates = 20_000

func newAutomaton(pattern string) (*automaton, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, err
	}
	a := &automaton{prog: prog, byKey: map[string]int32{}}
	a.add(a.follow(nil, uint32(prog.Start)))
	return a, nil
}

// follow adds to pcs the instructions that pc leads to without reading anything.
func (a *automaton) follow(pcs []uint32, pc uint32) []uint32 {
	if slices.Contains(pcs, pc) {
		return pcs
	}
	switch i := a.prog.Inst[pc]; i.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		pcs = append(pcs, pc)
		pcs = a.follow(pcs, i.Out)
		return a.follow(pcs, i.Arg)
	case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
		pcs = append(pcs, pc)
		return a.follow(pcs, i.Out)
	case syntax.InstFail:
		return pcs
	default:
		return append(pcs, pc)
	}
}

// add returns the state of a set of instructions.
func (a *automaton) add(pcs []uint32) int32 {
	slices.Sort(pcs)
	key := make([]byte, 0, 4*len(pcs))
	s := state{}
	for _, pc := range pcs {
		switch a.prog.Inst[pc].Op {
		case syntax.InstMatch:
			s.accept = true
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		default:
			continue
		}
		s.pcs = append(s.pcs, pc)
		key = binary.BigEndian.AppendUint32(key, pc)
	}
	if len(s.pcs) == 0 {
		return dead
	}
	if n, ok := a.byKey[string(key)]; ok {
		return n
	}
	for i := range s.next {
		s.next[i] = unknown
	}
	n := int32(len(a.states))
	a.states = append(a.states, s)
	a.byKey[string(key)] = n
	return n
}

// step returns the state after a digit.
func (a *automaton) step(from int32, digit byte) int32 {
	var pcs []uint32
	for _, pc := range a.states[from].pcs {
		if i := &a.prog.Inst[pc]; i.Op != syntax.InstMatch && i.MatchRune(rune(digit)) {
			pcs = a.follow(pcs, i.Out)
		}
	}
	to := a.add(pcs)
	a.states[from].next[digit-'0'] = to
	return to
}

// match reports whether the whole of digits matches.
func (a *automaton) match(digits []byte) bool {
	if len(a.states) > maxStates {
		a.states, a.byKey = a.states[:0], map[string]int32{}
	}
	if len(a.states) == 0 {
		a.add(a.follow(nil, uint32(a.prog.Start)))
		if len(a.states) == 0 {
			return false
		}
	}
	at := int32(0)
	for _, d := range digits {
		to := a.states[at].next[d-'0']
		if to == unknown {
			to = a.step(at, d)
		}
		if to == dead {
			return false
		}
		at = to
	}
	return a.states[at].accept
}
