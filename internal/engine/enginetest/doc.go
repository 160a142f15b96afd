// Package enginetest holds the contracts of the ports in package domain: one
// suite each, under which every engine is put without change. What an engine
// cannot do like the embedded ones is declared by its differences.
package enginetest
