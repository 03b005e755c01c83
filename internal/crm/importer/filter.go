package importer

import (
	"hash/maphash"
	"math/bits"
)

// filter tells in constant memory whether a key was surely not seen before. It
// is a split block Bloom filter: a key sets one bit in each of eight words of
// one 32-byte block, so it touches one cache line (Putze, Sanders, Singler,
// "Cache-, Hash- and Space-Efficient Bloom Filters"; also Apache Parquet's).
//
// A wrong "perhaps" costs a detour over the staging table, never a wrong result.
type filter struct {
	blocks [][8]uint32
	seed   maphash.Seed
	hash   maphash.Hash
}

const (
	// maxFilterBytes holds the share of wrong answers below 1 % up to about 25
	// million keys.
	maxFilterBytes = 32 << 20
	minFilterBytes = 64 << 10
)

// newFilter returns a filter for a file of size bytes, 0 when that is not known.
func newFilter(size int64) *filter {
	bytes := int64(maxFilterBytes)
	if size > 0 {
		// A row of contacts has hardly less than 32 bytes; two bytes a key.
		bytes = min(max(size/16, minFilterBytes), maxFilterBytes)
	}
	f := &filter{blocks: make([][8]uint32, bytes/32), seed: maphash.MakeSeed()}
	f.hash.SetSeed(f.seed)
	return f
}

// addEmail notes an address and reports whether it may have been there before.
func (f *filter) addEmail(email []byte) bool { return f.add(maphash.Bytes(f.seed, email)) }

// addContact does so for a contact without an address, by everything it has.
func (f *filter) addContact(c *contact) bool {
	f.hash.Reset()
	for _, part := range [][]byte{c.phone, c.name, c.company, c.metadata} {
		_, _ = f.hash.Write(part) // never fails
		_ = f.hash.WriteByte(0)   // no part holds a zero byte
	}
	return f.add(f.hash.Sum64())
}

func (f *filter) add(h uint64) bool {
	high, _ := bits.Mul64(h, uint64(len(f.blocks)))
	block := &f.blocks[high]
	low := uint32(h)
	seen := true
	for i, salt := range [8]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947,
		0x5c6bfb31} {
		bit := uint32(1) << (low * salt >> 27)
		seen = seen && block[i]&bit != 0
		block[i] |= bit
	}
	return seen
}
