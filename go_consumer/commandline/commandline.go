// Package commandline reads flags, reports errors on one line, and ends the program with the right status, also on Ctrl-C.
package commandline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"go_consumer/quiet"
)

const longestError = 1000 // characters

var (
	quotes     = regexp.MustCompile(`(?s)\n\t? ?\[\[.*`) // the part of the graph that a TensorFlow error quotes after the fault
	lineBreaks = regexp.MustCompile(`\s*[\n\v\f\r\x1c-\x1e\x{85}\x{2028}\x{2029}][\s\v\x1c-\x1e\x{85}\x{2028}\x{2029}]*`)
)

// Run runs a program to its end: status 0 when it is done or its reader went away, 1 after an error, 130 on Ctrl-C.
func Run(main func() error) {
	signal.Ignore(syscall.SIGPIPE) // writing then fails with EPIPE
	if !signal.Ignored(os.Interrupt) {
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt)
		go func() {
			<-interrupts
			Fail(errors.New("interrupted"), 130)
		}()
	}
	if err := main(); err != nil && !errors.Is(err, syscall.EPIPE) {
		Fail(err, 1)
	}
	Exit(0)
}

// Fail prints an error as one line on standard error and ends the program.
func Fail(err error, status int) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", program(), OneLine(err))
	Exit(status)
}

// Exit ends the program.
func Exit(status int) {
	quiet.Stop()
	os.Exit(status)
}

func program() string { return filepath.Base(os.Args[0]) }

// OneLine returns the text of an error on one line that a terminal shows as it is.
func OneLine(err error) string {
	text := err.Error()
	var path *fs.PathError
	var errno syscall.Errno
	if errors.As(err, &path) && errors.As(err, &errno) { // in the same words as in other languages
		text = strings.ToUpper(errno.Error()[:1]) + errno.Error()[1:]
		if !strings.HasPrefix(path.Path, "/dev/std") {
			text += ": " + path.Path
		}
	}
	text = lineBreaks.ReplaceAllString(strings.TrimSpace(quotes.ReplaceAllString(text, "")), " ")
	characters := []rune(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			return ' '
		}
		return c
	}, text))
	if n, half := len(characters), longestError/2; n > longestError {
		return string(characters[:half]) + " ... " + string(characters[n-half:])
	}
	return string(characters)
}

// Nearest returns the three names that share the longest beginning and end with a name; of equals, those of similar length.
func Nearest(name string, names []string) []string {
	distance := func(other string) (distance int) {
		n := min(len(name), len(other))
		for i := 0; i < n && name[i] == other[i]; i++ {
			distance -= 1 << 20
		}
		for i := 1; i <= n && name[len(name)-i] == other[len(other)-i]; i++ {
			distance -= 1 << 20
		}
		return distance + max(len(name)-len(other), len(other)-len(name))
	}
	slices.SortStableFunc(names, func(a, b string) int { return distance(a) - distance(b) })
	return names[:min(3, len(names))]
}
