package commandline

// #include <unistd.h>
import "C"

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

var quotedDefault = regexp.MustCompile(`\(default(\s+)"([^"]*)"\)`)

// Count returns a setter for a flag that counts from one.
func Count(count *int) func(string) error {
	return func(text string) error {
		number, err := strconv.ParseUint(text, 10, 31)
		if err != nil || number == 0 {
			return fmt.Errorf("not a whole number from 1 to %d: %s", math.MaxInt32, text)
		}
		*count = int(number)
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

// IsTerminal tells whether standard input is a terminal.
func IsTerminal() bool { return C.isatty(0) == 1 }

// NewFlags returns a set with the flags that every program has.
func NewFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard)
	flags.BoolP("help", "h", false, "show this help message and exit")
	flags.Bool("version", false, "print the versions of this program, the binding and TensorFlow")
	return flags
}

// ParseConsumer reads the command line. -x is the same as --x, and `--x -1,2` the same as `--x=-1,2`. It ends the program
// after --help or --version (status 0), or after one line about what is wrong (status 2).
func ParseConsumer(flags *pflag.FlagSet, about, examples, versions string) {
	var given []string
	unknown := ""
	for _, word := range join(flags, os.Args[1:]) {
		flag := lookup(flags, word)
		if _, value, found := strings.Cut(word, "="); found && isSwitch(flag) {
			wrong("argument --%s: ignored explicit argument '%s'", flag.Name, value)
		}
		err := flags.Parse([]string{word}) // given several words, the library takes a flag for the value of the one before it
		var lacking *pflag.ValueRequiredError
		var invalid *pflag.InvalidValueError
		switch {
		case errors.As(err, &lacking):
			wrong("argument --%s: expected one argument", flag.Name)
		case errors.As(err, &invalid):
			wrong("argument --%s: %w", flag.Name, invalid.Unwrap())
		case flags.Changed("help"):
			usages := quotedDefault.ReplaceAllString(flags.FlagUsagesWrapped(80), "(default:$1$2)")
			fmt.Printf("usage: %s [flags]\n\n%s\n\nflags:\n%s\nexamples:\n%s\n", program(), about, usages, examples)
			Exit(0)
		case flags.Changed("version"):
			fmt.Println(program(), versions)
			Exit(0)
		case flag != nil:
			given = append(given, flag.Name)
		case unknown == "":
			unknown = word
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
	for _, other := range []string{"x", "save"} {
		if first, second := slices.Index(given, other), slices.Index(given, "stdin"); first >= 0 && second >= 0 {
			wrong("argument --%s: not allowed with argument --%s", given[max(first, second)], given[min(first, second)])
		}
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

// join turns -x into --x, and joins each flag with its value.
func join(flags *pflag.FlagSet, words []string) (joined []string) {
	number := regexp.MustCompile(`(?i)^-([\d.]|inf|nan)`)
	var open *pflag.Flag // the flag before, if it has no value yet
	for _, word := range words {
		if lookup(flags, "-"+word) != nil {
			word = "-" + word
		}
		flag := lookup(flags, word)
		isValue := !strings.HasPrefix(word, "-") || word == "-" || strings.Contains(word, " ")
		if open != nil && flag == nil && (number.MatchString(word) || isValue && !isSwitch(open)) {
			joined[len(joined)-1] += "=" + word
			open = nil
			continue
		}
		joined, open = append(joined, word), flag
		if strings.Contains(word, "=") {
			open = nil
		}
	}
	return joined
}

// lookup returns the flag that a word sets, as --x or --x=..., or nil.
func lookup(flags *pflag.FlagSet, word string) *pflag.Flag {
	name, _, _ := strings.Cut(word, "=")
	if name, found := strings.CutPrefix(name, "--"); found {
		return flags.Lookup(name)
	}
	return nil
}

func isSwitch(flag *pflag.Flag) bool { return flag != nil && flag.NoOptDefVal != "" }

func wrong(format string, values ...any) {
	Fail(fmt.Errorf(format+" (--help lists the flags)", values...), 2)
}
