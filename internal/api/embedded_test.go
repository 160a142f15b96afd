//go:build !(integration && linux)

package api_test

// everyEngines are those over which the tests of this package run.
var everyEngines = []engines{embedded}
