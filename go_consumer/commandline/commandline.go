// Package commandline reads flags, reports errors on one line, and ends the program with the right status, also on Ctrl-C.
package commandline

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"go_consumer/quiet"

	"github.com/spf13/pflag"
)

const longestError = 1000 // characters

var (
	quotedDefault = regexp.MustCompile(`\(default(\s+)"([^"]*)"\)`)
	// A word after a flag is its value if it begins with a negative number, or is not like a flag.
	isNegative = regexp.MustCompile(`(?i)^-([\d.]|inf|nan)`).MatchString
	isPlain    = regexp.MustCompile(`(?s)^([^-]|-?$|.* )`).MatchString
	quotes     = regexp.MustCompile(`(?s)\n\t? ?\[\[.*`) // the part of the graph that TensorFlow quotes after a fault
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

// The flags that a flag excludes.
var excluded = map[string][]string{"x": {"stdin"}, "save": {"stdin"}, "stdin": {"x", "save"}}

// Count returns a setter for a flag that counts from one.
func Count(count *int) func(string) error {
	return func(text string) error {
		number, err := strconv.ParseUint(text, 10, 31)
		if *count = int(number); err != nil || number == 0 {
			return fmt.Errorf("not a whole number from 1 to %d: %s", math.MaxInt32, text)
		}
		return nil
	}
}

// ModuleVersion returns the version of a module that is part of this program.
func ModuleVersion(path string) string {
	build, _ := debug.ReadBuildInfo()
	for i := 0; build != nil && i < len(build.Deps); i++ {
		if build.Deps[i].Path == path {
			return build.Deps[i].Version
		}
	}
	return "unknown"
}

// IsTerminal tells whether standard input is a terminal, or another device that is read byte by byte.
func IsTerminal() bool {
	status, err := os.Stdin.Stat()
	return err == nil && status.Mode()&os.ModeCharDevice != 0
}

// NewFlags returns a set with the flags that every program has.
func NewFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.BoolP("help", "h", false, "show this help message and exit")
	flags.Bool("version", false, "print the versions of this program, the binding and TensorFlow")
	return flags
}

// ParseConsumer reads the command line. -x is the same as --x, and `--x -1,2` the same as `--x=-1,2`; the library's own parser
// would take any flag for the value of the one before it. It ends the program after --help or --version (status 0), or after
// one line about what is wrong (status 2).
func ParseConsumer(flags *pflag.FlagSet, about, examples, versions string) {
	unknown := ""
	for words := os.Args[1:]; len(words) > 0; words = words[1:] {
		flag, value, given := lookup(flags, words[0])
		if flag == nil {
			unknown = cmp.Or(unknown, words[0])
			continue
		}
		isSwitch := flag.NoOptDefVal != ""
		if !given && len(words) > 1 {
			next, _, _ := lookup(flags, words[1])
			if next == nil && (isNegative(words[1]) || isPlain(words[1]) && !isSwitch) {
				words = words[1:]
				value, given = words[0], true
			}
		}
		switch {
		case given && isSwitch:
			wrong("argument --%s: ignored explicit argument '%s'", flag.Name, value)
		case isSwitch:
			value = "true"
		case !given:
			wrong("argument --%s: expected one argument", flag.Name)
		}
		if err := flag.Value.Set(value); err != nil {
			wrong("argument --%s: %w", flag.Name, err)
		}
		flag.Changed = true
		for _, other := range excluded[flag.Name] {
			if flags.Changed(other) {
				wrong("argument --%s: not allowed with argument --%s", flag.Name, other)
			}
		}
		if flag.Name == "help" {
			usages := quotedDefault.ReplaceAllString(flags.FlagUsagesWrapped(80), "(default:$1$2)")
			fmt.Printf("usage: %s [flags]\n\n%s\n\nflags:\n%s\nexamples:\n%s\n", program(), about, usages, examples)
			Exit(0)
		} else if flag.Name == "version" {
			fmt.Println(program(), versions)
			Exit(0)
		}
	}
	if name, _, _ := strings.Cut(unknown, "="); strings.HasPrefix(name, "-") {
		names := []string{"-h"}
		flags.VisitAll(func(flag *pflag.Flag) { names = append(names, "--"+flag.Name) })
		near := Nearest("--"+strings.TrimLeft(name, "-"), names)[0]
		Fail(fmt.Errorf("unknown argument: %s (nearest: %s; --help lists the flags)", unknown, near), 2)
	} else if unknown != "" {
		wrong("unknown argument: %s", unknown)
	}
	outputs, _ := flags.GetStringArray("output")
	for _, single := range []string{"stdin", "save"} {
		if flags.Changed(single) && len(outputs) > 1 {
			wrong("argument --output: only one with --%s", single)
		}
	}
	if flags.Changed("batch") && !flags.Changed("stdin") {
		wrong("argument --batch: only with --stdin")
	}
	feeds, _ := flags.GetStringArray("feed")
	for _, text := range feeds {
		if strings.Index(text, "=") < 1 {
			wrong("argument --feed: not NAME=VALUES: %s", text)
		}
	}
}

// lookup returns the flag that a word names, as --x, -x, --x=VALUE or -x=VALUE, or nil; and the value if there is one.
func lookup(flags *pflag.FlagSet, word string) (flag *pflag.Flag, value string, given bool) {
	name, value, given := strings.Cut(word, "=")
	if name == "-h" {
		name = "--help"
	}
	name, found := strings.CutPrefix(name, "-")
	if found {
		flag = flags.Lookup(strings.TrimPrefix(name, "-"))
	}
	return flag, value, given
}

func wrong(format string, values ...any) {
	Fail(fmt.Errorf(format+" (--help lists the flags)", values...), 2)
}
