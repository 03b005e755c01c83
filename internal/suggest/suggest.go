package suggest

import (
	"strings"
)

// maxWord bounds the work done for one comparison, in bytes. Nobody mistypes a
// longer word by a letter or two.
const maxWord = 100

// Nearest returns the candidate that word is most likely a mistyping of, or ""
// when none is near. Case is ignored. Near means: at most a third of the word's
// letters (and never more than three) inserted, left out, replaced or swapped
// with their neighbour; or the word begins the candidate. Of several equally
// near candidates the first wins.
func Nearest(word string, candidates []string) string {
	if word == "" || len(word) > maxWord {
		return ""
	}
	lower := strings.ToLower(word)
	limit := min(max(1, len(lower)/3), 3)
	best, bestDistance := "", limit+1
	for _, candidate := range candidates {
		if len(candidate) > maxWord {
			continue
		}
		c := strings.ToLower(candidate)
		if d := distance(lower, c); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	if best != "" {
		return best
	}
	for _, candidate := range candidates {
		if len(lower) >= 2 && strings.HasPrefix(strings.ToLower(candidate), lower) {
			return candidate
		}
	}
	return ""
}

// DidYouMean returns `; did you mean "all-tenants"?`, or "" when nothing is
// near, to be put at the end of an error.
func DidYouMean(word string, candidates []string) string {
	near := Nearest(word, candidates)
	if near == "" {
		return ""
	}
	return `; did you mean "` + near + `"?`
}

// distance is the optimal string alignment distance: the number of insertions,
// deletions, substitutions and swaps of neighbours that make b from a.
func distance(a, b string) int {
	before, previous := make([]int, len(b)+1), make([]int, len(b)+1)
	current := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}
