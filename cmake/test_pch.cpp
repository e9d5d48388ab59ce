// The library of the tests' precompiled header: a target needs a source.
