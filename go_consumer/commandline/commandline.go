// Package commandline holds what a program needs of its command line: flags, errors in one line, exit statuses, Ctrl-C.
package commandline

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"go_consumer/quiet"
)

const longestError = 1000 // characters

// What a TensorFlow error quotes of the graph, behind the fault.
var quotes = regexp.MustCompile(`(?s)\n\t? ?\[\[.*`)

// Strings is a flag that may be repeated.
type Strings []string

// String is what flag.Value asks for.
func (s *Strings) String() string { return "" }

// Set takes one text.
func (s *Strings) Set(text string) error {
	*s = append(*s, text)
	return nil
}

// Pairs is a flag that takes NAME=LIST and may be repeated.
type Pairs []struct{ Name, Value string }

// String is what flag.Value asks for.
func (p *Pairs) String() string { return "" }

// Set takes one NAME=LIST.
func (p *Pairs) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if name == "" || !found {
		return fmt.Errorf("not NAME=LIST: %s", text)
	}
	*p = append(*p, struct{ Name, Value string }{name, value})
	return nil
}

// Parse reads the command line, in which --x is the same as -x. One of the two exclusive flags may be in it.
// It ends the program after --help (status 0), or after one line about what is wrong (status 2).
func Parse(flags *flag.FlagSet, about string, exclusive [2]string) {
	words := os.Args[1:]
	var given, unknown []string
	for i := 0; i < len(words); i++ {
		known, hasValue := lookup(flags, words[i])
		if known == nil {
			unknown = append(unknown, words[i])
			continue
		}
		if known.Name == "help" {
			printHelp(flags, about)
			Exit(0)
		}
		if !isSwitch(known) && !hasValue {
			i++
			if i == len(words) {
				wrong("argument --%s: expected one argument", known.Name)
			}
			if next, _ := lookup(flags, words[i]); next != nil {
				wrong("argument --%s: expected one argument", known.Name)
			}
		}
		if slices.Contains(exclusive[:], known.Name) && !slices.Contains(given, known.Name) {
			given = append(given, known.Name)
		}
	}
	if len(given) == 2 {
		wrong("argument --%s: not allowed with argument --%s", given[1], given[0])
	}
	if unknown != nil {
		wrong("unrecognized arguments: %s", strings.Join(unknown, " "))
	}
	flags.Init(flags.Name(), flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(words); err != nil {
		// Such as: invalid value "a" for flag -feed: not NAME=LIST: a
		parts := regexp.MustCompile(`(?s) for (?:flag )?-([a-z-]+): (.*)`).FindStringSubmatch(err.Error())
		wrong("argument --%s: %s", parts[1], parts[2])
	}
}

func wrong(format string, values ...any) {
	Warn(fmt.Errorf(format+" (--help lists the flags)", values...))
	Exit(2)
}

// lookup finds the flag that a word is, as -x, --x, -x=... or --x=...; nil where it is none.
func lookup(flags *flag.FlagSet, word string) (known *flag.Flag, hasValue bool) {
	name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	if !strings.HasPrefix(word, "-") {
		return nil, false
	}
	if name == "h" || name == "help" {
		return &flag.Flag{Name: "help"}, false
	}
	return flags.Lookup(name), hasValue
}

func isSwitch(known *flag.Flag) bool {
	value, ok := known.Value.(interface{ IsBoolFlag() bool })
	return ok && value.IsBoolFlag()
}

func printHelp(flags *flag.FlagSet, about string) {
	fmt.Printf("usage: %s [flags]\n\n%s\n\nflags:\n  -h, --help\n        show this and exit\n", program(), about)
	flags.VisitAll(func(f *flag.Flag) {
		kind, usage := flag.UnquoteUsage(f)
		if !isSwitch(f) && f.DefValue != "" {
			usage += fmt.Sprintf(" (default: %s)", f.DefValue)
		}
		fmt.Printf("  --%s\n        %s\n", strings.TrimSpace(f.Name+" "+kind), usage)
	})
}

func program() string {
	return filepath.Base(os.Args[0])
}

// OneLine returns the text of an error on one line that a terminal shows as it is.
func OneLine(err error) string {
	text := err.Error()
	var path *fs.PathError
	var errno syscall.Errno
	if errors.As(err, &path) && errors.As(err, &errno) {
		text = strings.ToUpper(errno.Error()[:1]) + errno.Error()[1:]
		if !strings.HasPrefix(path.Path, "/dev/std") {
			text += ": " + path.Path
		}
	}
	var lines []string
	for _, line := range strings.FieldsFunc(quotes.ReplaceAllString(text, ""), isLineBreak) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	characters := []rune(strings.Join(lines, " "))
	if len(characters) > longestError {
		tail := characters[len(characters)-longestError/2:]
		characters = slices.Concat(characters[:longestError/2], []rune(" ... "), tail)
	}
	for i, c := range characters {
		if !unicode.IsPrint(c) {
			characters[i] = ' '
		}
	}
	return string(characters)
}

func isLineBreak(c rune) bool {
	return c >= '\n' && c <= '\r' || c >= 0x1c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
}

// Warn prints an error as one line on standard error.
func Warn(err error) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", program(), OneLine(err))
}

// Exit ends the program.
func Exit(status int) {
	quiet.Stop()
	os.Exit(status)
}

// Run runs a program to its end: status 0 when it is done or its reader went away, 1 after an error, 130 on Ctrl-C.
func Run(main func() error) {
	signal.Ignore(syscall.SIGPIPE) // writing then fails with EPIPE
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	go func() {
		<-interrupts
		Exit(130)
	}()
	if err := main(); err != nil && !errors.Is(err, syscall.EPIPE) {
		Warn(err)
		Exit(1)
	}
	Exit(0)
}
