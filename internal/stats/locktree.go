package stats

import (
	"cmp"
	"slices"
)

// LockNode is a session in a tree of who waits for whom. It stands below the one that it
// waits for, and once only: where it waits for several, below the one that itself waits
// longest down the tree, which is the last that has to end.
type LockNode struct {
	Session

	Depth  int  // 0 for one that waits for nobody
	Last   bool // the last of its parent
	Behind int  // sessions that wait for it, or for one that does
	// Parents tells of each level above whether more of it follow, for drawing.
	Parents []bool
	// Also are sessions that it waits for beside the one above it.
	Also []Blocker
	root bool
}

// IsRoot reports whether it is in the way of others and waits for nobody, or the wait is
// a circle, which the server breaks up after deadlock_timeout.
func (n LockNode) IsRoot() bool { return n.root }

// LockTree returns who blocks whom, a parent before those that wait for it, and who
// blocks most first.
func (s Sessions) LockTree() []LockNode {
	t := lockTree{sessions: map[Blocker]Session{}, below: map[Blocker][]Blocker{}, depths: map[Blocker]int{},
		behind: map[Blocker]int{}, done: map[Blocker]bool{}}
	for _, one := range s.Sessions {
		t.sessions[one.ID()] = one
	}
	var waiting []Blocker
	roots := map[Blocker]bool{}
	for _, one := range s.Sessions {
		if len(one.Blockers) == 0 {
			continue
		}
		waiting = append(waiting, one.ID())
		parent := slices.MaxFunc(one.Blockers, func(a, b Blocker) int { return cmp.Compare(t.depth(a), t.depth(b)) })
		t.below[parent] = append(t.below[parent], one.ID())
		for _, b := range one.Blockers {
			if len(t.sessions[b].Blockers) == 0 {
				roots[b] = true
			}
		}
	}
	for b := range roots {
		if _, known := t.sessions[b]; !known { // it has ended meanwhile, or nobody knows its name
			t.sessions[b] = Session{PID: b.PID, GID: b.GID, Whose: Unknown}
		}
	}
	first := make([]Blocker, 0, len(roots))
	for b := range roots {
		t.count(b)
		first = append(first, b)
	}
	t.sort(first)
	for _, b := range first {
		t.add(b, nil, true)
	}
	for _, b := range waiting { // circles
		if !t.done[b] {
			t.count(b)
			t.add(b, nil, true)
		}
	}
	return t.out
}

type lockTree struct {
	sessions map[Blocker]Session
	below    map[Blocker][]Blocker
	depths   map[Blocker]int // -1 while it is being found
	behind   map[Blocker]int
	done     map[Blocker]bool
	out      []LockNode
}

// depth returns how many have to end one after the other before b goes on.
func (t *lockTree) depth(b Blocker) int {
	if d, known := t.depths[b]; known {
		return max(0, d)
	}
	t.depths[b] = -1
	d := 0
	for _, next := range t.sessions[b].Blockers {
		d = max(d, t.depth(next)+1)
	}
	t.depths[b] = d
	return d
}

// count counts who is behind b. In a circle it stops where it began.
func (t *lockTree) count(b Blocker) int {
	if n, known := t.behind[b]; known {
		return n
	}
	t.behind[b] = 0
	n := 0
	for _, next := range t.below[b] {
		n += 1 + t.count(next)
	}
	t.behind[b] = n
	return n
}

func (t *lockTree) sort(list []Blocker) {
	slices.SortFunc(list, func(a, b Blocker) int {
		return cmp.Or(cmp.Compare(t.behind[b], t.behind[a]), cmp.Compare(t.sessions[b].Waited, t.sessions[a].Waited),
			cmp.Compare(a.PID, b.PID), cmp.Compare(a.GID, b.GID))
	})
}

func (t *lockTree) add(b Blocker, parents []bool, last bool) {
	if t.done[b] {
		return
	}
	t.done[b] = true
	one := t.sessions[b]
	node := LockNode{Session: one, Depth: len(parents), Last: last, Behind: t.behind[b], Parents: parents,
		root: len(parents) == 0}
	if len(parents) > 0 {
		for _, other := range one.Blockers {
			if !slices.Contains(t.below[other], b) {
				node.Also = append(node.Also, other)
			}
		}
	}
	t.out = append(t.out, node)
	children := slices.DeleteFunc(slices.Clone(t.below[b]), func(c Blocker) bool { return t.done[c] })
	t.sort(children)
	for i, c := range children {
		end := i == len(children)-1
		t.add(c, append(slices.Clip(slices.Clone(parents)), !end), end)
	}
}
