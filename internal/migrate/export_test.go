package migrate

// Arrange is what Run does with the order of RunOptions.
var Arrange = arrange
