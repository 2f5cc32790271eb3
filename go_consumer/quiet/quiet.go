// Package quiet keeps TensorFlow's log lines off the terminal, unless TF_CPP_MIN_LOG_LEVEL is set.
//
// TensorFlow writes its first lines while its library loads, before main and before it has read any setting. So on Linux
// a function that runs even earlier points descriptor 2 at a child process, which passes on whatever is not a log line:
// the last words of a crash are still seen. os.Stderr is the terminal itself. On other systems the log lines stay.
package quiet

/*
#ifdef __linux__
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int terminal = 2;
static pid_t child;

// FATAL lines are the last words of a process that aborts. The errors that are logged are returned as well.
static int is_log(const char *line) {
	size_t date = strspn(line, "0123456789-:. "); // before the letter in older versions
	return (strspn(line, "IWE") == 1 && strspn(line + 1, "0123456789") == 4) ||
		(date > 20 && strspn(line + date, "IWE") == 1) ||
		strstr(line, "WARNING: All log messages before absl") == line ||
		strstr(line, "To enable the following instructions:") == line;
}

// Runs in the child until nobody holds the other end of the pipe any more. An indented line continues the one before.
static void filter(FILE *lines) {
	char *line = NULL;
	size_t size = 0;
	ssize_t length;
	int log = 0;
	while ((length = getline(&line, &size, lines)) > 0) {
		log = is_log(line) || (log && strspn(line, " \t\n") > 0);
		if (!log && write(terminal, line, length) != length)
			break;
	}
	_exit(0);
}

static char notice[64];

static void interrupted(int number) {
	(void)number;
	_exit(write(terminal < 0 ? 2 : terminal, notice, strlen(notice)) < 0 ? 1 : 130);
}

static void start(int argc, char **argv, char **environment) {
	int ends[2];
	(void)argc;
	const char *slash = strrchr(argv[0], '/');
	snprintf(notice, sizeof notice, "%.40s: interrupted\n", slash ? slash + 1 : argv[0]);
	// Ctrl-C while the libraries load; Go's own handler takes its place.
	if (signal(SIGINT, interrupted) == SIG_IGN)
		signal(SIGINT, SIG_IGN);
	// getenv does not work this early.
	for (; *environment; environment++)
		if (strstr(*environment, "TF_CPP_MIN_LOG_LEVEL=") == *environment)
			return;
	// A descriptor that the caller has closed gets a file, so that nothing else takes its number.
	do
		ends[0] = open("/dev/null", O_RDWR);
	while (ends[0] >= 0 && ends[0] < 3);
	close(ends[0]);
	if (pipe(ends) != 0)
		return;
	terminal = dup(2);
	if (terminal >= 0 && (child = fork()) >= 0) {
		if (child == 0) {
			signal(SIGINT, SIG_IGN);
			close(0), close(1), close(2), close(ends[1]);
			filter(fdopen(ends[0], "r"));
		}
		dup2(ends[1], 2);
	}
	close(ends[0]);
	close(ends[1]);
	if (terminal < 0)
		terminal = 2;
}

// The linker adds this to the functions that run before the libraries are initialized.
__attribute__((section(".preinit_array"), used)) static void (*const at_start)(int, char **, char **) = start;

// A thread that is still running may still log, to nowhere.
static void stop(void) {
	if (child > 0) {
		dup2(open("/dev/null", O_WRONLY), 2);
		waitpid(child, NULL, 0);
	}
}
#else
static int terminal = 2;
static void stop(void) {}
#endif

static int get_terminal(void) { return terminal; }
*/
import "C"

import "os"

func init() {
	os.Stderr = os.NewFile(uintptr(C.get_terminal()), "/dev/stderr")
}

// Stop passes on the last lines, at the end of the program.
func Stop() {
	C.stop()
}
