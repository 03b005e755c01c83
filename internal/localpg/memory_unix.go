//go:build unix && !linux

package localpg

// memoryDir is a file system in memory; there is none to count on.
func memoryDir() string { return "" }
